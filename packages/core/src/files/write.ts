import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { codeOf, writeError } from './errors.js';
import { namesIn } from './present.js';
import { markedProcess, ownMark } from './process-identity.js';
import { checkReplaceable } from './regular.js';
import { move, remove } from './rename.js';

/**
 * Writes a file atomically: `write` writes to a temporary file in the same folder, which is synced and renamed. After a
 * crash, `path` is either the old file or the complete new one. If an error occurs, the temporary file is removed.
 * Temporary files that killed processes left of the same path are removed.
 *
 * @throws `DISK_FULL` if there is not enough space
 * @throws `FILE_UNWRITABLE` if `path` is a FIFO, socket or device
 * @throws the other errors of `writeError`, and those of `write`
 */
export async function writeAtomically(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = temporaryName(path);
  try {
    // A temporary folder is new, and is synced when it is complete.
    const isInTemporary = isUnfinished(basename(dirname(path)));
    if (!isInTemporary) {
      await checkReplaceable(path);
      await removeStale(path);
    }
    const handle = await open(temporary, 'wx');
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await move(temporary, path);
    if (!isInTemporary) await syncFolder(dirname(path));
  } catch (cause) {
    await discard(temporary);
    throw writeError(cause, path);
  }
}

/** Writes a text file atomically, as {@link writeAtomically} does. */
export const writeText = (file: string, text: string): Promise<void> =>
  writeAtomically(file, (handle) => writeFully(handle, new TextEncoder().encode(text)));

/** Writes all of `bytes`. A single call of `handle.write` can write fewer. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.byteLength - done, 1 << 30));
    done += bytesWritten;
  }
}

/**
 * Writes all of `bytes` at a position of an open file.
 *
 * @param path the file or folder for errors
 * @throws `DISK_FULL` and the other errors of `writeError`
 */
export function writeFullySync(descriptor: number, bytes: Uint8Array, position: number, path: string): void {
  try {
    for (let done = 0; done < bytes.byteLength;)
      done += writeSync(descriptor, bytes, done, bytes.byteLength - done, position + done);
  } catch (cause) {
    throw writeError(cause, path);
  }
}

/**
 * Returns a unique name in the folder of `path`. It starts with a dot, so that globs ignore it, and contains the
 * mark of the process that writes it.
 */
export function temporaryName(path: string, ending: 'partial' | 'replaced' = 'partial'): string {
  return join(dirname(path), `.${basename(path)}.${ownMark}-${randomBytes(6).toString('hex')}.${ending}`);
}

/** The contents of a temporary name. */
interface TemporaryName {
  /** The name of the file or folder that it is for. */
  readonly of: string;
  /** The mark of the process that made it, which names of early versions lack. */
  readonly mark: string | undefined;
  readonly ending: 'partial' | 'replaced';
}

/** Reads a name that {@link temporaryName} returned; null if it is another name. */
export function readTemporaryName(name: string): TemporaryName | null {
  const parts = /^\.(.+?)\.(?:([0-9a-f]+-\d+(?:-[0-9a-f]{6})?)-)?[0-9a-f]{12}\.(partial|replaced)$/.exec(name);
  return parts === null ? null : { of: parts[1] ?? '', mark: parts[2], ending: parts[3] as TemporaryName['ending'] };
}

/** Returns whether a name is that of an unfinished file or folder. */
const isUnfinished = (name: string): boolean => readTemporaryName(name)?.ending === 'partial';

/**
 * Removes temporary files and folders of `path` whose process on this machine has ended. Those of running processes, of
 * other machines and of other users are not touched.
 *
 * @throws the errors of `fileError`
 */
export async function removeStale(path: string): Promise<void> {
  for (const name of await namesIn(dirname(path))) {
    const { of, mark, ending } = readTemporaryName(name) ?? {};
    if (of !== basename(path) || mark === undefined || ending !== 'partial') continue;
    if ((await markedProcess(mark)) === 'ended') await removeOwn(join(dirname(path), name));
  }
}

async function removeOwn(path: string): Promise<void> {
  try {
    await remove(path);
  } catch (cause) {
    if (codeOf(cause) !== 'EACCES' && codeOf(cause) !== 'EPERM') throw writeError(cause, path);
  }
}

/**
 * Removes what an operation that failed has written. Its error is reported instead of one of the removal: the name is
 * temporary, so the next writer removes it.
 */
export async function discard(temporary: string): Promise<void> {
  await remove(temporary).catch(() => undefined);
}

/** Errors of file systems that cannot sync a folder. */
const CANNOT_SYNC = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP'];

/** Syncs the entries of a folder to disk. Windows cannot, and its renames are durable anyway. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (cause) {
    if (!CANNOT_SYNC.includes(String(codeOf(cause)))) throw cause;
  } finally {
    await handle.close();
  }
}

/**
 * Creates a folder and its parents. Node's `mkdir` with `recursive` does not return if a file system has the parent but
 * reports "no such file" for the child (`/proc`). This function throws that error instead.
 */
export async function makeFolder(path: string): Promise<void> {
  const folder = resolve(path);
  try {
    await mkdir(folder);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') {
      // Succeeds if the path is a folder, and throws EEXIST again if it is a file.
      return void (await mkdir(folder, { recursive: true }));
    }
    if (codeOf(error) !== 'ENOENT' || dirname(folder) === folder) throw error;
    await makeFolder(dirname(folder));
    await mkdir(folder);
  }
  await syncFolder(dirname(folder));
}
