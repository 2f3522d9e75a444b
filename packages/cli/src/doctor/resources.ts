import { constants } from 'node:fs';
import { access, readFile, stat, statfs } from 'node:fs/promises';
import { availableParallelism, cpus, freemem, tmpdir, totalmem } from 'node:os';
import { dirname, resolve } from 'node:path';
import { getHeapStatistics } from 'node:v8';
import { formatBytes } from '@whetstone/core/util';
import { isReason, orReason, type Section } from './section.js';

/** Returns the limit of the container or control group in bytes; null if there is none below the machine's memory. */
function memoryLimit(): number | null {
  const limit = process.constrainedMemory() ?? 0;
  return limit > 0 && limit < totalmem() ? limit : null;
}

/** Returns the limit of the address space (`ulimit -v`) in bytes; null if there is none, or if it is unknown. */
async function addressSpaceLimit(): Promise<number | null> {
  if (process.platform !== 'linux') return null;
  const [, soft] = /^Max address space\s+(\d+)/m.exec(await readFile('/proc/self/limits', 'utf8')) ?? [];
  return soft === undefined ? null : Number(soft);
}

/** Memory, limits of it, and processors. */
export async function memory(): Promise<Section> {
  const addressSpace = await orReason(addressSpaceLimit);
  const data = {
    totalBytes: totalmem(),
    freeBytes: freemem(),
    containerLimitBytes: memoryLimit(),
    addressSpaceLimitBytes: addressSpace,
    heapLimitBytes: getHeapStatistics().heap_size_limit,
    processors: cpus().length,
    usableProcessors: availableParallelism(),
    processor: cpus()[0]?.model.trim() ?? null,
  };
  const limit = (bytes: number | null | { readonly error: string }): string =>
    isReason(bytes) ? bytes.error : bytes === null ? 'none' : formatBytes(bytes);
  return {
    data,
    rows: [
      ['memory', `${formatBytes(data.totalBytes)}, ${formatBytes(data.freeBytes)} free`],
      ['container limit', limit(data.containerLimitBytes)],
      ['address space', limit(addressSpace)],
      ['heap of Node.js', formatBytes(data.heapLimitBytes)],
      ['processors', `${data.usableProcessors} of ${data.processors}, ${data.processor ?? 'unknown'}`],
    ],
  };
}

/** A folder on a disk. */
export interface Place {
  readonly folder: string;
  readonly exists: boolean;
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly readable: boolean;
  /** Whether files can be written there, or in the nearest folder above it that exists. */
  readonly writable: boolean;
}

const allows = (path: string, mode: number): Promise<boolean> =>
  access(path, mode).then(
    () => true,
    () => false,
  );

/** Returns the nearest path that exists: this one, or a folder above it. */
async function nearestExisting(path: string): Promise<string> {
  try {
    await stat(path);
    return path;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if ((code !== 'ENOENT' && code !== 'ENOTDIR') || dirname(path) === path) throw error;
    return nearestExisting(dirname(path));
  }
}

/** Returns the free space of a folder, and whether it can be read and written. */
export async function placeOf(folder: string): Promise<Place> {
  const nearest = await nearestExisting(resolve(folder));
  const exists = nearest === resolve(folder);
  const { bavail, blocks, bsize } = await statfs(nearest);
  const isFolder = (await stat(nearest)).isDirectory();
  return {
    folder: resolve(folder),
    exists,
    freeBytes: bavail * bsize,
    totalBytes: blocks * bsize,
    readable: exists && isFolder && (await allows(nearest, constants.R_OK | constants.X_OK)),
    writable: isFolder && (await allows(nearest, constants.W_OK | constants.X_OK)),
  };
}

/** Describes a folder in words. */
export function describePlace(place: Place | { readonly error: string }): string {
  if (isReason(place)) return place.error;
  const { folder, exists, freeBytes, totalBytes, readable, writable } = place;
  const access = !writable ? 'not writable' : exists && !readable ? 'not readable' : null;
  return [
    folder,
    `${formatBytes(freeBytes)} free of ${formatBytes(totalBytes)}`,
    ...(exists ? [] : ['does not exist yet']),
    ...(access === null ? [] : [access]),
  ].join(', ');
}

/** The free space of the cache, of the folder for temporary files, and of the output folder. */
export async function disk(output: () => Promise<string>): Promise<Section> {
  const cache = await orReason(async () => {
    const { cacheFolder } = await import('@whetstone/backend/install');
    return placeOf(cacheFolder());
  });
  const temporary = await orReason(() => placeOf(tmpdir()));
  const target = await orReason(async () => placeOf(await output()));
  const problems = isReason(target)
    ? []
    : [
        ...(target.writable ? [] : ['Nothing can be written to the output folder.']),
        ...(target.freeBytes > 0 ? [] : ['The disk of the output folder is full.']),
      ];
  return {
    data: { cache, temporary, output: target },
    rows: [
      ['cache', describePlace(cache)],
      ['temporary files', describePlace(temporary)],
      ['output', describePlace(target)],
    ],
    problems,
  };
}
