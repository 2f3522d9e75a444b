import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exists, remove, syncFolder, writeError, writeText } from '../files/index.js';

/**
 * Marks a folder whose run is being replaced. It is written first and removed last, so that a process that is killed in
 * between leaves neither a folder that no run may use, nor half a run that could be resumed.
 */
const MARK = '.whetstone-overwrite';

/** Returns whether a process was killed while it replaced the run in a folder. */
export const isOverwriteUnfinished = (folder: string): boolean => exists(join(folder, MARK));

/**
 * Removes the entries of a folder whose run is replaced.
 *
 * @throws the errors of `writeError`
 */
export async function emptyFolder(folder: string, entries: readonly string[]): Promise<void> {
  await writeText(join(folder, MARK), '');
  try {
    for (const entry of entries) await remove(join(folder, entry));
  } catch (cause) {
    throw writeError(cause, folder);
  }
}

/** Removes the mark of {@link emptyFolder}, once the new run has marked the folder as its own. */
export async function endOverwrite(folder: string): Promise<void> {
  if (!isOverwriteUnfinished(folder)) return;
  try {
    await rm(join(folder, MARK));
    await syncFolder(folder);
  } catch (cause) {
    throw writeError(cause, folder);
  }
}
