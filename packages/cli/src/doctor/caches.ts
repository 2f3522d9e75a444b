import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes } from '@whetstone/core/util';
import { describePlace, placeOf, type Place } from './resources.js';
import { isReason, orReason, type Section } from './section.js';

/** What was found in a cache. */
interface Contents {
  readonly entries: number;
  readonly bytes: number;
  /** Entries that are incomplete, changed or not what they should be, with the reason. */
  readonly damaged: readonly { readonly name: string; readonly reason: string }[];
}

/** One of the caches: its folder within the cache folder, and a function that finds damaged entries. */
interface Cache {
  readonly name: string;
  readonly folder: string;
  /** Which entries of the folder belong to the cache. */
  readonly isEntry?: (name: string) => boolean;
  readonly damaged: (folder: string) => Promise<Contents['damaged']>;
}

/** Folders of the cache folder that are caches of their own. */
const OTHERS = new Set(['models', 'wheels', 'loaded', 'locks', 'xla-modules', 'tokenized']);
/** Every other folder is an installed library, except those that the suites of this repository make. */
const isLibrary = (name: string): boolean => !OTHERS.has(name) && !name.startsWith('test-');

/** Number of damaged entries that are named as text. */
const MAX_LISTED = 3;

const cachesIn = (root: string): readonly Cache[] => [
  {
    name: 'libraries',
    folder: root,
    isEntry: isLibrary,
    damaged: async (folder) => (await import('@whetstone/backend/install')).damagedInstallations(folder, isLibrary),
  },
  {
    name: 'models',
    folder: join(root, 'models'),
    damaged: async () => (await import('../fetched-models.js')).damagedModels(root),
  },
  {
    name: 'compiled modules',
    folder: join(root, 'xla-modules'),
    damaged: async (folder) => (await import('@whetstone/backend/internal')).damagedModules(folder),
  },
  {
    name: 'tokens',
    folder: join(root, 'tokenized'),
    damaged: async (folder) => (await import('@whetstone/data/internal')).damagedStores(folder),
  },
  { name: 'downloads', folder: join(root, 'wheels'), damaged: async () => [] },
];

/** Returns the size of a file, or of all files in a folder. */
async function bytesIn(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  let bytes = 0;
  for (const name of await readdir(path)) bytes += await bytesIn(join(path, name)).catch(() => 0);
  return bytes;
}

async function contentsOf({ folder, isEntry = () => true, damaged }: Cache): Promise<Contents> {
  const names = (await readdir(folder)).filter(isEntry);
  let bytes = 0;
  for (const name of names) bytes += await bytesIn(join(folder, name)).catch(() => 0);
  return { entries: names.length, bytes, damaged: await damaged(folder) };
}

function describe(place: Place | { readonly error: string }, contents: Contents | { readonly error: string }): string {
  if (isReason(place) || !place.exists) return isReason(place) ? place.error : `${place.folder}, does not exist`;
  const access = place.writable ? '' : ', read-only';
  if (isReason(contents)) return `${place.folder}${access}, cannot be read: ${contents.error}`;
  const { entries, bytes, damaged } = contents;
  const listed = damaged.slice(0, MAX_LISTED).map(({ name, reason }) => `${name}: ${reason}`);
  if (damaged.length > MAX_LISTED) listed.push(`and ${damaged.length - MAX_LISTED} more`);
  return (
    `${place.folder}, ${entries} ${entries === 1 ? 'entry' : 'entries'}, ${formatBytes(bytes)}${access}` +
    (damaged.length === 0 ? '' : `, damaged: ${listed.join('; ')}`)
  );
}

/** The caches: where they are, their size, whether they can be read and written, and damaged entries. */
export async function caches(): Promise<Section> {
  const { cacheFolder } = await import('@whetstone/backend/install');
  const root = cacheFolder();
  const found = [];
  for (const cache of cachesIn(root)) {
    const place = await orReason(() => placeOf(cache.folder));
    const contents =
      isReason(place) || !place.exists
        ? { entries: 0, bytes: 0, damaged: [] }
        : await orReason(() => contentsOf(cache));
    found.push({ name: cache.name, place, contents });
  }
  return {
    data: found.map(({ name, place, contents }) => ({ name, ...place, ...contents })),
    rows: [
      ['folder', describePlace(await orReason(() => placeOf(root)))],
      ...found.map(({ name, place, contents }) => [name, describe(place, contents)] as const),
    ],
  };
}
