import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { cacheFolder } from './cache-folder.js';
import { fetchWheel } from './fetch-wheel.js';
import type { InstallOptions } from './progress.js';
import { unpack, type UnpackedFile } from './unpack.js';
import type { Wheel, WheelSet } from './wheels.js';

/** What is installed into one folder: a wheel, or several that belong together. */
export type Installable = Wheel | WheelSet;

/** What is written beside the files of a whole installation, last of all. */
interface InstallRecord {
  readonly name: string;
  readonly version: string;
  readonly wheels: readonly string[];
  /** Of the one wheel; of several the checksums' own. */
  readonly sha256: string;
  readonly files: readonly UnpackedFile[];
}

const recordFile = 'install.json';

const wheelsOf = (what: Installable): readonly Wheel[] => ('wheels' in what ? what.wheels : [what]);

const checksumOf = (what: Installable): string =>
  'wheels' in what
    ? createHash('sha256')
        .update(what.wheels.map(({ sha256 }) => sha256).join())
        .digest('hex')
    : what.sha256;

/** Folder that holds the files of a wheel, or of a set, once they are installed. */
export function installedFolder(what: Installable, cache: string = cacheFolder()): string {
  return join(cache, `${what.name}-${what.version}`);
}

/** Whether the files are all there, each with the size it was installed with. */
export async function isInstalled(what: Installable, cache: string = cacheFolder()): Promise<boolean> {
  const folder = installedFolder(what, cache);
  try {
    const record = JSON.parse(await readFile(join(folder, recordFile), 'utf8')) as InstallRecord;
    if (record.sha256 !== checksumOf(what)) return false;
    for (const file of record.files) if ((await stat(join(folder, file.path))).size !== file.bytes) return false;
    return record.files.length > 0;
  } catch {
    return false;
  }
}

/**
 * Fetches wheels and unpacks what is kept of them into one folder of the cache. What is there already is used as it is.
 * Two installers at once wait for one another; an installation that was torn never looks whole: it is made in a
 * temporary folder and renamed. Wheels that were fetched before it broke are not fetched again.
 *
 * @returns the folder with the files
 * @throws `DOWNLOAD_FAILED`, `DISK_FULL`, `INTERRUPTED`
 */
export async function installWheel(what: Installable, options: InstallOptions = {}): Promise<string> {
  const cache = options.cache ?? cacheFolder();
  const folder = installedFolder(what, cache);
  if (await isInstalled(what, cache)) return folder;
  return withLock(folder, cache, options, async () => {
    if (await isInstalled(what, cache)) return folder;
    try {
      await checkDiskSpace(what, cache);
      await sweepTornInstallations(cache, what);
      const archives: string[] = [];
      for (const wheel of wheelsOf(what))
        archives.push(await fetchWheel(wheel, join(cache, 'wheels'), { ...options, cache }));
      await unpackInto(folder, archives, what, options);
      for (const archive of archives) await rm(archive);
      return folder;
    } catch (error) {
      throw asDiskFull(error, cache);
    }
  });
}

async function unpackInto(
  folder: string,
  archives: readonly string[],
  what: Installable,
  options: InstallOptions,
): Promise<void> {
  const temporary = `${folder}.partial-${randomUUID()}`;
  await mkdir(temporary);
  try {
    const files: UnpackedFile[] = [];
    for (const [index, wheel] of wheelsOf(what).entries()) {
      const unpacked = await unpack(
        archives[index] ?? '',
        temporary,
        wheel.keep,
        `${wheel.name} ${wheel.version}`,
        options,
      );
      if (unpacked.length === 0)
        throw new WhetstoneError('DOWNLOAD_FAILED', `${wheel.fileName} does not hold the files that are needed.`, {
          expected: String(wheel.keep),
        });
      files.push(...unpacked);
    }
    const record: InstallRecord = {
      name: what.name,
      version: what.version,
      wheels: wheelsOf(what).map(({ fileName }) => fileName),
      sha256: checksumOf(what),
      files,
    };
    const handle = await open(join(temporary, recordFile), 'w');
    try {
      await handle.writeFile(`${JSON.stringify(record, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

async function withLock<T>(folder: string, cache: string, options: InstallOptions, work: () => Promise<T>): Promise<T> {
  // It listens for signals as soon as it is loaded, and a signal that is listened for does not end a program that
  // computes without a pause.
  const { default: lockfile } = await import('proper-lockfile');
  await mkdir(cache, { recursive: true });
  const lockOptions = { realpath: false, stale: 30_000, update: 5_000 };
  const tryLock = async (): Promise<(() => Promise<void>) | null> => {
    try {
      return await lockfile.lock(folder, lockOptions);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ELOCKED') return null;
      throw error;
    }
  };
  let release = await tryLock();
  if (release === null) options.onMessage?.('Another process is installing the same thing: waiting for it.');
  while (release === null) {
    if (options.signal?.aborted)
      throw new WhetstoneError('INTERRUPTED', 'Waiting for another installation was interrupted.');
    await new Promise((resolve) => setTimeout(resolve, 500));
    release = await tryLock();
  }
  try {
    return await work();
  } finally {
    await release();
  }
}

/** What an installer that was killed has left behind; safe under the lock. */
async function sweepTornInstallations(cache: string, what: Installable): Promise<void> {
  const prefix = `${what.name}-${what.version}.partial-`;
  const entries = await readdir(cache).catch(() => []);
  await Promise.all(
    entries
      .filter((entry) => entry.startsWith(prefix))
      .map((entry) => rm(join(cache, entry), { recursive: true, force: true })),
  );
}

/** What a wheel of machine code comes to unpacked, where nobody wrote it down: two and a half times its size. */
const unpackedBytesOf = (wheel: Wheel): number => wheel.unpackedBytes ?? 2.5 * (wheel.bytes ?? 0);

async function checkDiskSpace(what: Installable, cache: string): Promise<void> {
  const needed = wheelsOf(what).reduce((sum, wheel) => sum + (wheel.bytes ?? 0) + unpackedBytesOf(wheel), 0);
  const { bavail, bsize } = await statfs(cache);
  if (bavail * bsize < needed) {
    throw new WhetstoneError('DISK_FULL', `There is no room for ${what.name} ${what.version}.`, {
      place: { file: cache },
      expected: `${megabytes(needed)} free`,
      found: `${megabytes(bavail * bsize)} free`,
      hint: 'Make room, or set WHETSTONE_CACHE to a folder on another disk.',
    });
  }
}

function asDiskFull(error: unknown, cache: string): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') return error;
  return new WhetstoneError('DISK_FULL', 'The disk filled up while installing.', {
    place: { file: cache },
    hint: 'Make room, or set WHETSTONE_CACHE to a folder on another disk.',
    cause: error,
  });
}

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
