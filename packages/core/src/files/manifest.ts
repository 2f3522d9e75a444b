import { readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WhetstoneError, type Problem } from '../contract/index.js';
import { isRecord } from '../util/index.js';
import { statOf } from './present.js';
import { checkFormatVersion, hashFile } from './read.js';
import { readTextIfPresent } from './regular.js';
import { writeText } from './write.js';

/** The file that lists the files of a folder. */
export const MANIFEST_FILE = 'manifest.json';

/** The size and hash of a file. */
interface ListedFile {
  readonly bytes: number;
  readonly sha256: string;
}

/** The files of a folder as they were written, with paths relative to it. */
export interface Manifest {
  /** What the folder is: `whetstone-checkpoint` or `whetstone-result`. */
  readonly format: string;
  readonly version: number;
  /** The version of Whetstone that wrote the folder. */
  readonly whetstone: string;
  readonly files: Readonly<Record<string, ListedFile>>;
}

/** Writes the manifest of a folder: the size and hash of every file. Must be the last file that is written. */
export async function writeManifest(
  folder: string,
  kind: Pick<Manifest, 'format' | 'version'>,
  more: Readonly<Record<string, number>> = {},
): Promise<void> {
  const files: Record<string, ListedFile> = {};
  for (const name of await filesIn(folder)) {
    const file = join(folder, name);
    files[name] = { bytes: (await stat(file)).size, sha256: await hashFile(file) };
  }
  const manifest = { ...kind, whetstone: packageVersion(), ...more, files } satisfies Manifest;
  await writeText(join(folder, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Returns the paths of all files in a folder, relative to it, with slashes. */
async function filesIn(folder: string, prefix = ''): Promise<readonly string[]> {
  const found: string[] = [];
  const entries = await readdir(join(folder, prefix), { withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory()) found.push(...(await filesIn(folder, `${path}/`)));
    else found.push(path);
  }
  return found;
}

function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { readonly version: string }).version;
}

/** Returns whether a value is a manifest; of any version, because later ones can have other fields. */
export const isManifest = (value: unknown): value is Manifest =>
  isRecord(value) &&
  isRecord(value['files']) &&
  Object.values(value['files']).every(
    (entry) => isRecord(entry) && typeof entry['bytes'] === 'number' && typeof entry['sha256'] === 'string',
  );

/** Returns a problem for each file of a manifest that is missing or changed, of those that `isRead` selects. */
export async function changedFiles(
  folder: string,
  { files }: Pick<Manifest, 'files'>,
  isRead: (name: string) => boolean = () => true,
): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  for (const [name, expected] of Object.entries(files)) {
    const problem = isRead(name) ? await problemOf(join(folder, name), expected) : null;
    if (problem !== null) problems.push(problem);
  }
  return problems;
}

async function problemOf(file: string, expected: ListedFile): Promise<Problem | null> {
  const found = await statOf(file);
  if (found === null) return { message: 'The file is missing.', place: { file } };
  if (found.size !== expected.bytes)
    return {
      message: 'The size of the file has changed.',
      place: { file },
      expected: `${expected.bytes} bytes`,
      found: `${found.size} bytes`,
    };
  const sha256 = await hashFile(file);
  return sha256 === expected.sha256
    ? null
    : {
        message: 'The contents of the file have changed.',
        place: { file },
        expected: `SHA-256 ${expected.sha256}`,
        found: `SHA-256 ${sha256}`,
      };
}

const RESULT = { format: 'whetstone-result', version: 1 } as const;

/** Writes the manifest of a folder that a command or run leaves: a model, an adapter, the state of a stage. */
export const writeResultManifest = (folder: string): Promise<void> => writeManifest(folder, RESULT);

/** Files that no reader of a model or adapter reads: people may change them, and checkpoints contain more. */
const NOT_READ =
  /^(README\.md|LICENSE(\.\w+)?|NOTICE|optimizer\..*|strategy-.*|scheduler\.json|trainer_state\.json|trainable\..*)$/;

/**
 * Checks the files of a result before they are read: every file of its manifest exists and has the recorded size and
 * hash. A folder without a manifest of Whetstone is not checked.
 *
 * @param isRead selects the files to check; all that readers of a model or adapter read by default
 * @throws `FILE_CHANGED` with all missing and changed files
 * @throws `VERSION_UNSUPPORTED` if a later version of Whetstone wrote the manifest
 */
export async function verifyResult(
  folder: string,
  isRead: (name: string) => boolean = (name) => !NOT_READ.test(name),
): Promise<void> {
  const file = join(folder, MANIFEST_FILE);
  const text = await readTextIfPresent(file);
  if (text === null) return;
  const manifest = parseJson(text);
  const format = isRecord(manifest) ? manifest['format'] : undefined;
  if (isRecord(manifest) && format === RESULT.format)
    checkFormatVersion({
      file,
      what: 'The manifest',
      found: manifest['version'],
      supported: RESULT.version,
      writtenBy: manifest['whetstone'],
    });
  // Other programs may write a file of this name. A text that is not JSON was not written by any of them.
  if (manifest !== undefined && !String(format).startsWith('whetstone-')) return;
  if (!isManifest(manifest)) throw changed(folder, [{ message: 'It is damaged.', place: { file } }]);
  const problems = await changedFiles(folder, manifest, isRead);
  if (problems.length > 0) throw changed(folder, problems);
}

/** Returns a JSON value; undefined if the text is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function changed(folder: string, problems: readonly Problem[]): WhetstoneError {
  return new WhetstoneError('FILE_CHANGED', `${problems.length} of the files are not as Whetstone wrote them.`, {
    place: { file: folder },
    problems,
    hint:
      'Write the folder again, or copy or fetch it again from where it came. If you changed the files yourself, ' +
      `remove ${MANIFEST_FILE} from the folder.`,
  });
}
