import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { WhetstoneError } from '../contract/index.js';
import { codeOf, fileError } from './errors.js';
import { statOf, unlessMissing } from './present.js';

/** Opening a FIFO without this flag waits for a process that writes to it. Windows has neither. */
const WITHOUT_WAITING = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

const kinds = [
  ['isDirectory', 'a folder'],
  ['isFIFO', 'a FIFO (named pipe)'],
  ['isSocket', 'a socket'],
  ['isCharacterDevice', 'a device'],
  ['isBlockDevice', 'a device'],
] as const;

const kindOf = (found: Stats): string => kinds.find(([method]) => found[method]())?.[1] ?? 'something else';

function notRegular(file: string, found: string): WhetstoneError {
  return new WhetstoneError('FILE_UNREADABLE', 'The path is not a regular file.', {
    place: { file },
    expected: 'a regular file',
    found,
    hint: 'Reading a FIFO, socket or device may never end. Copy its contents into a file.',
  });
}

/**
 * Opens a file for reading. Never waits.
 *
 * @throws `FILE_UNREADABLE` if it is a folder, FIFO, socket or device
 * @throws an error of the file system, unchanged
 */
export async function openRegular(file: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(file, WITHOUT_WAITING);
  } catch (cause) {
    if (codeOf(cause) === 'ENXIO') throw notRegular(file, 'a socket or a device');
    throw cause;
  }
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw notRegular(file, kindOf(found));
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Checks that a path is a regular file, for readers that open it themselves. Throws as {@link openRegular}. */
export async function checkRegular(file: string): Promise<void> {
  const found = await statOf(file);
  if (found !== null && !found.isFile()) throw notRegular(file, kindOf(found));
}

/**
 * Checks that a path can be replaced by a file: a rename would remove a device such as `/dev/null` for all processes.
 *
 * @throws `FILE_UNWRITABLE` if it is, or links to, a FIFO, socket or device
 */
export async function checkReplaceable(file: string): Promise<void> {
  const found = await statOf(file);
  if (found === null || found.isFile() || found.isDirectory()) return;
  throw new WhetstoneError('FILE_UNWRITABLE', 'The path is not a regular file.', {
    place: { file },
    expected: 'a regular file, or a path that does not exist',
    found: kindOf(found),
    hint: 'Files are written completely and then moved to their path, which a FIFO, socket or device does not survive.',
  });
}

/** Returns the text of a file in UTF-8. Throws as {@link openRegular}. */
export async function readText(file: string): Promise<string> {
  const handle = await openRegular(file);
  try {
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

/**
 * Returns the text of a file; null if it does not exist.
 *
 * @throws the errors of {@link fileError} except `FILE_NOT_FOUND`
 */
export const readTextIfPresent = (file: string): Promise<string | null> =>
  unlessMissing(file, () => readText(file), null);

/** Returns the text of a file. Throws as {@link readBytesSync}. */
export const readTextSync = (file: string): string => readBytesSync(file).toString('utf8');

/**
 * Returns the bytes of a file. Never waits.
 *
 * @throws `FILE_UNREADABLE` if it is a folder, FIFO, socket or device
 * @throws the other errors of {@link fileError}
 */
export function readBytesSync(file: string): Buffer {
  let descriptor: number;
  try {
    descriptor = openSync(file, WITHOUT_WAITING);
  } catch (cause) {
    if (codeOf(cause) === 'ENXIO') throw notRegular(file, 'a socket or a device');
    throw fileError(cause, file);
  }
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile()) throw notRegular(file, kindOf(found));
    return readFileSync(descriptor);
  } catch (cause) {
    throw fileError(cause, file);
  } finally {
    closeSync(descriptor);
  }
}
