import { open, readdir, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { WhetstoneError } from '../contract/index.js';
import { codeOf, isMissing, writeError } from './errors.js';
import { namesIn, statOf } from './present.js';
import { markedProcess } from './process-identity.js';
import { move, remove } from './rename.js';
import { discard, makeFolder, readTemporaryName, removeStale, syncFolder, temporaryName } from './write.js';

/**
 * Writes a folder atomically: `fill` writes into a temporary folder, which is synced and renamed to `folder`. After a
 * crash, `folder` is either the old folder or the complete new one, once {@link cleanFolder} has run. If an error
 * occurs, the temporary folder is removed.
 *
 * @throws `DISK_FULL` if there is not enough space
 * @throws the other errors of `writeError`, and those of `fill`
 */
export async function writeFolder(folder: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = temporaryName(folder);
  try {
    await removeStale(folder);
    await makeFolder(temporary);
    await fill(temporary);
    await syncContents(temporary);
    await replaceFolder(temporary, folder);
    await syncFolder(dirname(folder));
  } catch (cause) {
    await discard(temporary);
    throw writeError(cause, folder);
  }
}

/** Syncs all files and folders in a folder to disk, whoever wrote them. */
async function syncContents(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncContents(path);
    else await syncFile(path);
  }
  await syncFolder(folder);
}

async function syncFile(file: string): Promise<void> {
  // Windows syncs only files that are open for writing.
  const handle = await open(file, 'r+');
  await handle.sync().finally(() => handle.close());
}

/**
 * Renames `from` to `to`. An existing folder is first renamed to a name by which {@link cleanFolder} restores it if
 * the process is killed between the two, and removed at the end.
 */
async function replaceFolder(from: string, to: string): Promise<void> {
  const aside = temporaryName(to, 'replaced');
  const isReplaced = await renameIfPresent(to, aside);
  try {
    await move(from, to);
  } catch (error) {
    if (isReplaced) await move(aside, to);
    throw error;
  }
  if (isReplaced) await remove(aside);
}

async function renameIfPresent(from: string, to: string): Promise<boolean> {
  try {
    // An empty folder is removed: nothing of it is to be restored.
    await rmdir(from);
    return false;
  } catch (cause) {
    if (isMissing(cause)) return false;
    if (codeOf(cause) !== 'ENOTEMPTY' && codeOf(cause) !== 'EEXIST') throw cause;
  }
  await move(from, to);
  return true;
}

/**
 * Returns the folders in `root` that were being replaced when the process was killed, and do not exist under their own
 * names: the own name of each, and its present path.
 */
export async function replacedFolders(root: string): Promise<ReadonlyMap<string, string>> {
  const names = await namesIn(root);
  return new Map(
    names.flatMap((name) => {
      const { of: own, ending } = readTemporaryName(name) ?? {};
      return own === undefined || ending !== 'replaced' || names.includes(own)
        ? []
        : [[own, join(root, name)] as const];
    }),
  );
}

/**
 * Repairs a folder after a process was killed in it: removes temporary files and folders, except those of another
 * running process, and restores folders that were being replaced.
 *
 * @throws the errors of `writeError`
 */
export async function cleanFolder(root: string): Promise<void> {
  try {
    for (const [name, path] of await replacedFolders(root)) await move(path, join(root, name));
    for (const name of await namesIn(root)) {
      const temporary = readTemporaryName(name);
      if (temporary === null) continue;
      const isInUse = temporary.mark !== undefined && (await markedProcess(temporary.mark)) === 'running';
      if (!isInUse) await remove(join(root, name));
    }
  } catch (cause) {
    throw writeError(cause, root);
  }
}

/**
 * Checks that files can be written to a folder, which is missing or not: creates a folder next to what exists, and
 * removes it.
 *
 * @throws `FILE_UNWRITABLE`, `DISK_FULL` and the other errors of `writeError`
 */
export async function checkWritable(folder: string): Promise<void> {
  if ((await statOf(folder)) === null && dirname(folder) !== folder) return checkWritable(dirname(folder));
  const probe = temporaryName(join(folder, 'probe'));
  try {
    await makeFolder(probe);
    await rmdir(probe);
  } catch (cause) {
    await discard(probe);
    throw writeError(cause, folder);
  }
}

/**
 * Checks before a long computation that its result can be written to a file.
 *
 * @throws `FILE_NOT_FOUND` if the folder of the file does not exist
 * @throws the errors of {@link checkWritable}
 */
export async function checkWritableFile(file: string): Promise<void> {
  const folder = dirname(file);
  if ((await statOf(folder)) === null)
    throw new WhetstoneError('FILE_NOT_FOUND', 'The folder of the file does not exist.', {
      place: { file },
      expected: `the folder ${folder}`,
      hint: 'Create the folder, or choose another one.',
    });
  await checkWritable(folder);
}
