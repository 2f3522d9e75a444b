import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { codeOf, fileError } from './errors.js';

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

/**
 * Identifies this machine in names, because the process ids of other machines on a shared disk are meaningless here.
 */
const machine = Buffer.from(hostname()).toString('hex').slice(-8) || '0';

/**
 * Returns a unique name in the folder of `path`. It starts with a dot, so that globs ignore it, and contains the
 * machine and process that write it.
 */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${machine}-${process.pid}-${randomBytes(6).toString('hex')}.partial`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== 'ESRCH';
  }
}

/**
 * Removes temporary files and folders of `path` whose process on this machine has ended. Those of running processes and
 * of other machines are not touched.
 */
export async function removeStale(path: string): Promise<void> {
  const prefix = `.${basename(path)}.${machine}-`;
  for (const name of await readdir(dirname(path)).catch(() => [])) {
    const pid = name.startsWith(prefix)
      ? /^(\d+)-[0-9a-f]{12}\.partial$/.exec(name.slice(prefix.length))?.[1]
      : undefined;
    if (pid !== undefined && !isAlive(Number(pid)))
      await rm(join(dirname(path), name), { recursive: true, force: true });
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
}
