import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import lockfile from 'proper-lockfile';
import { cacheFolder } from './cache-folder.js';
import { fetchWheel } from './fetch-wheel.js';
import type { InstallOptions } from './progress.js';
import { unpack, type UnpackedFile } from './unpack.js';
import type { Wheel } from './wheels.js';

/** What is written beside the files of a whole installation, last of all. */
interface InstallRecord {
  readonly name: string;
  readonly version: string;
  readonly wheel: string;
  readonly sha256: string;
  readonly files: readonly UnpackedFile[];
}

const recordFile = 'install.json';

/** Folder that holds a wheel's files once they are installed. */
export function installedFolder(wheel: Wheel, cache: string = cacheFolder()): string {
  return join(cache, `${wheel.name}-${wheel.version}`);
}

/** Whether a wheel's files are all there, each with the size it was installed with. */
export async function isInstalled(wheel: Wheel, cache: string = cacheFolder()): Promise<boolean> {
  const folder = installedFolder(wheel, cache);
  try {
    const record = JSON.parse(await readFile(join(folder, recordFile), 'utf8')) as InstallRecord;
    if (record.sha256 !== wheel.sha256) return false;
    for (const file of record.files) if ((await stat(join(folder, file.path))).size !== file.bytes) return false;
    return record.files.length > 0;
  } catch {
    return false;
  }
}

/**
 * Fetches a wheel and unpacks what is kept of it into the cache. What is there already is used as it is. Two installers at
 * once wait for one another; an installation that was torn never looks whole: it is made in a temporary folder and renamed.
 * @returns the folder with the files
 * @throws `DOWNLOAD_FAILED`, `DISK_FULL`, `INTERRUPTED`
 */
export async function installWheel(wheel: Wheel, options: InstallOptions = {}): Promise<string> {
  const cache = options.cache ?? cacheFolder();
  const folder = installedFolder(wheel, cache);
  if (await isInstalled(wheel, cache)) return folder;
  return withLock(folder, cache, options, async () => {
    if (await isInstalled(wheel, cache)) return folder;
    try {
      await checkDiskSpace(wheel, cache);
      await sweepTornInstallations(cache, wheel);
      const wheels = join(cache, 'wheels');
      const archive = await fetchWheel(wheel, wheels, options);
      await unpackInto(folder, archive, wheel, options);
      await rm(archive);
      return folder;
    } catch (error) {
      throw asDiskFull(error, cache);
    }
  });
}

async function unpackInto(folder: string, archive: string, wheel: Wheel, options: InstallOptions): Promise<void> {
  const subject = `${wheel.name} ${wheel.version}`;
  const temporary = `${folder}.partial-${randomUUID()}`;
  await mkdir(temporary);
  try {
    const files = await unpack(archive, temporary, wheel.keep, subject, options);
    if (files.length === 0) throw new WhetstoneError('DOWNLOAD_FAILED', `${wheel.fileName} does not hold the files that are needed.`, { expected: String(wheel.keep) });
    const record: InstallRecord = { name: wheel.name, version: wheel.version, wheel: wheel.fileName, sha256: wheel.sha256, files };
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
    if (options.signal?.aborted) throw new WhetstoneError('INTERRUPTED', 'Waiting for another installation was interrupted.');
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
async function sweepTornInstallations(cache: string, wheel: Wheel): Promise<void> {
  const prefix = `${wheel.name}-${wheel.version}.partial-`;
  const entries = await readdir(cache).catch(() => []);
  await Promise.all(entries.filter((entry) => entry.startsWith(prefix)).map((entry) => rm(join(cache, entry), { recursive: true, force: true })));
}

async function checkDiskSpace(wheel: Wheel, cache: string): Promise<void> {
  const needed = (wheel.bytes ?? 0) + (wheel.unpackedBytes ?? 0);
  const { bavail, bsize } = await statfs(cache);
  if (bavail * bsize < needed) {
    throw new WhetstoneError('DISK_FULL', `There is no room for ${wheel.name} ${wheel.version}.`, {
      place: { file: cache },
      expected: `${megabytes(needed)} free`,
      found: `${megabytes(bavail * bsize)} free`,
      hint: 'Make room, or set WHETSTONE_CACHE to a folder on another disk.',
    });
  }
}

function asDiskFull(error: unknown, cache: string): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') return error;
  return new WhetstoneError('DISK_FULL', 'The disk filled up while installing.', { place: { file: cache }, hint: 'Make room, or set WHETSTONE_CACHE to a folder on another disk.', cause: error });
}

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
