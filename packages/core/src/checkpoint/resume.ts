import { basename, dirname } from 'node:path';
import { WhetstoneError, isWhetstoneError } from '../contract/errors.js';
import { replacedFolders } from '../files/index.js';
import { listCheckpoints } from './folders.js';
import { verifyCheckpoint } from './manifest.js';

/**
 * Returns the checkpoint to resume from: the requested one, or the newest complete checkpoint of the run's folder.
 * Incomplete and corrupt checkpoints are skipped with a warning. Returns null if the folder has no checkpoint.
 *
 * @param requested the folder of a checkpoint, or true for the newest one
 * @throws `VERSION_UNSUPPORTED` if a later version of Whetstone wrote the checkpoint. Resuming from an older checkpoint
 *   instead would silently discard steps
 * @throws `CHECKPOINT_INVALID` if the requested checkpoint, or every checkpoint of the folder, is incomplete or corrupt
 */
export async function findCheckpoint(
  requested: string | true,
  root: string | null,
  warn: (message: string) => void,
): Promise<string | null> {
  if (typeof requested === 'string') {
    const folder = (await replacedFolders(dirname(requested))).get(basename(requested)) ?? requested;
    await verifyCheckpoint(folder);
    return folder;
  }
  const all = root === null ? [] : await listCheckpoints(root);
  const problems: WhetstoneError[] = [];
  for (const { folder } of all) {
    try {
      await verifyCheckpoint(folder);
      return folder;
    } catch (error) {
      if (!isWhetstoneError(error) || error.code === 'VERSION_UNSUPPORTED') throw error;
      problems.push(error);
      warn(`A checkpoint cannot be used; the previous one is tried instead: ${error.toString()}`);
    }
  }
  if (problems.length === 0) return null;
  throw new WhetstoneError('CHECKPOINT_INVALID', 'All checkpoints are incomplete or corrupt.', {
    ...(root === null ? {} : { place: { file: root } }),
    problems,
  });
}
