import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { cacheFolder } from './cache-folder.js';
import { fetchWheel } from './fetch-wheel.js';
import type { InstallOptions } from './progress.js';
import { unpack, type UnpackedFile } from './unpack.js';
import type { Wheel, WheelSet } from './wheels.js';

/** The contents of one folder of the cache: a wheel, or several that belong together. */
export type Installable = Wheel | WheelSet;

/** The record of a complete installation. It is written after all other files. */
interface InstallRecord {
  readonly name: string;
  readonly version: string;
  readonly wheels: readonly string[];
  /** Checksum of the wheel. For several wheels, the checksum of their checksums. */
  readonly sha256: string;
  readonly files: readonly UnpackedFile[];
}

const recordFile = 'install.json';

const wheelsOf = (item: Installable): readonly Wheel[] => ('wheels' in item ? item.wheels : [item]);

const checksumOf = (item: Installable): string =>
  'wheels' in item
    ? createHash('sha256')
        .update(item.wheels.map(({ sha256 }) => sha256).join())
        .digest('hex')
    : item.sha256;

/** Returns the folder in which a wheel or a set is installed. */
export function installedFolder(item: Installable, cache: string = cacheFolder()): string {
  return join(cache, `${item.name}-${item.version}`);
}

/** Returns whether an installation is complete: every recorded file exists with its size. */
export async function isInstalled(item: Installable, cache: string = cacheFolder()): Promise<boolean> {
  const folder = installedFolder(item, cache);
  try {
    const record = JSON.parse(await readFile(join(folder, recordFile), 'utf8')) as InstallRecord;
    if (record.sha256 !== checksumOf(item)) return false;
    for (const file of record.files) if ((await stat(join(folder, file.path))).size !== file.bytes) return false;
    return record.files.length > 0;
  } catch {
    return false;
  }
}

/**
 * Returns the entries of the cache that are not complete installations, each with the reason. In contrast to
 * {@link isInstalled}, the contents of the files are compared with their checksums.
 *
 * @param isEntry whether a name in the cache is that of an installation
 */
export async function damagedInstallations(
  cache: string,
  isEntry: (name: string) => boolean,
): Promise<readonly { readonly name: string; readonly reason: string }[]> {
  const damaged: { name: string; reason: string }[] = [];
  for (const name of (await readdir(cache)).filter(isEntry)) {
    if (name.endsWith('.lock')) continue;
    const reason = name.includes('.partial-')
      ? 'an installation that was not finished'
      : await damageOf(join(cache, name));
    if (reason !== null) damaged.push({ name, reason });
  }
  return damaged;
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

async function damageOf(folder: string): Promise<string | null> {
  let record: InstallRecord;
  try {
    record = JSON.parse(await readFile(join(folder, recordFile), 'utf8')) as InstallRecord;
    if (!Array.isArray(record.files)) throw new Error('no files');
  } catch {
    return `${recordFile} is missing or damaged`;
  }
  for (const { path, bytes, sha256 } of record.files) {
    const found = await stat(join(folder, path)).catch(() => null);
    if (found?.isFile() !== true) return `${path} is missing`;
    if (found.size !== bytes) return `${path} has ${found.size} bytes instead of ${bytes}`;
    if (sha256 !== undefined && (await hashFile(join(folder, path))) !== sha256) return `${path} was changed`;
  }
  return null;
}

/**
 * Fetches wheels and unpacks the needed files into one folder of the cache. A complete installation is reused.
 * Concurrent installers wait for each other. Files are unpacked into a temporary folder that is renamed, so that an
 * interrupted installation is never taken for a complete one. Wheels that it fetched are reused.
 *
 * @returns the folder with the files
 * @throws `DOWNLOAD_FAILED`
 * @throws `DISK_FULL`
 * @throws `INTERRUPTED`
 */
export async function installWheel(item: Installable, options: InstallOptions = {}): Promise<string> {
  const cache = options.cache ?? cacheFolder();
  const folder = installedFolder(item, cache);
  if (await isInstalled(item, cache)) return folder;
  return withLock(folder, cache, options, async () => {
    if (await isInstalled(item, cache)) return folder;
    try {
      await checkDiskSpace(item, cache);
      await removeIncompleteInstallations(cache, item);
      const archives: string[] = [];
      for (const wheel of wheelsOf(item))
        archives.push(await fetchWheel(wheel, join(cache, 'wheels'), { ...options, cache }));
      await unpackInto(folder, archives, item, options);
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
  item: Installable,
  options: InstallOptions,
): Promise<void> {
  const temporary = `${folder}.partial-${randomUUID()}`;
  await mkdir(temporary);
  try {
    const files: UnpackedFile[] = [];
    for (const [index, wheel] of wheelsOf(item).entries()) {
      const unpacked = await unpack(
        archives[index] ?? '',
        temporary,
        wheel.keep,
        `${wheel.name} ${wheel.version}`,
        options,
      );
      if (unpacked.length === 0)
        throw new WhetstoneError('DOWNLOAD_FAILED', `${wheel.fileName} does not contain the needed files.`, {
          expected: String(wheel.keep),
        });
      files.push(...unpacked);
    }
    const record: InstallRecord = {
      name: item.name,
      version: item.version,
      wheels: wheelsOf(item).map(({ fileName }) => fileName),
      sha256: checksumOf(item),
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
  // The module listens for signals from its import on. Such a signal does not end a program that never yields.
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
  if (release === null) options.onMessage?.('Another process installs the same files. Waiting for it.');
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

/** Removes the temporary folders of killed installers. The caller holds the lock. */
async function removeIncompleteInstallations(cache: string, item: Installable): Promise<void> {
  const prefix = `${item.name}-${item.version}.partial-`;
  const entries = await readdir(cache).catch(() => []);
  await Promise.all(
    entries
      .filter((entry) => entry.startsWith(prefix))
      .map((entry) => rm(join(cache, entry), { recursive: true, force: true })),
  );
}

/** Returns the unpacked size of a wheel. If it is not known, it is estimated for machine code: 2.5 times the file. */
const unpackedBytesOf = (wheel: Wheel): number => wheel.unpackedBytes ?? 2.5 * (wheel.bytes ?? 0);

async function checkDiskSpace(item: Installable, cache: string): Promise<void> {
  const needed = wheelsOf(item).reduce((sum, wheel) => sum + (wheel.bytes ?? 0) + unpackedBytesOf(wheel), 0);
  const { bavail, bsize } = await statfs(cache);
  if (bavail * bsize < needed) {
    throw new WhetstoneError('DISK_FULL', `There is not enough disk space for ${item.name} ${item.version}.`, {
      place: { file: cache },
      expected: `${megabytes(needed)} free`,
      found: `${megabytes(bavail * bsize)} free`,
      hint: 'Free disk space, or set WHETSTONE_CACHE to a folder on another disk.',
    });
  }
}

function asDiskFull(error: unknown, cache: string): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') return error;
  return new WhetstoneError('DISK_FULL', 'The disk became full during the installation.', {
    place: { file: cache },
    hint: 'Free disk space, or set WHETSTONE_CACHE to a folder on another disk.',
    cause: error,
  });
}

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
