import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { fileError } from './file-errors.js';
import { temporaryName } from './temporary-name.js';

/**
 * Writes a file atomically: `write` writes to a temporary file in the same folder, which is synced and renamed. After a
 * crash, `path` is either the old file or the complete new one. If an error occurs, the temporary file is removed.
 *
 * @throws `DISK_FULL` if there is not enough space
 * @throws the other errors of {@link fileError}
 */
export async function writeAtomically(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = temporaryName(path);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw fileError(cause, path);
  }
}

/** Writes all of `bytes`. A single call of `handle.write` can write fewer. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.byteLength - done, 1 << 30));
    done += bytesWritten;
  }
}
