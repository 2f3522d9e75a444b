import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { fileError } from './file-errors.js';
import { temporaryName } from './temporary-name.js';

/**
 * Writes a file under a temporary name in the same folder, syncs it and renames it: under `path` stands the old file or
 * the whole new one. Throws `DISK_FULL` and others of {@link fileError}; the temporary file is removed.
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

/** Writes all of `bytes`: one call may write less than it was given. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.byteLength - done, 1 << 30));
    done += bytesWritten;
  }
}
