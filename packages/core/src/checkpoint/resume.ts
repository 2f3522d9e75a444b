import { WhetstoneError, isWhetstoneError } from '../contract/errors.js';
import { listCheckpoints } from './folders.js';
import { proveWhole } from './manifest.js';

/**
 * The checkpoint to go on from: the one asked for by path, or the newest whole one of the run's folder. Torn and
 * corrupt ones are passed over with a warning that says what is wrong. Null where the folder has none at all.
 *
 * @throws `VERSION_UNSUPPORTED` if a later version wrote it: to continue from an older checkpoint would undo steps
 *   without being asked. `CHECKPOINT_INVALID` where the one asked for is not whole, or none is.
 */
export async function findCheckpoint(
  wanted: string | true,
  root: string | null,
  warn: (message: string) => void,
): Promise<string | null> {
  if (typeof wanted === 'string') {
    await proveWhole(wanted);
    return wanted;
  }
  const all = root === null ? [] : await listCheckpoints(root);
  const problems: WhetstoneError[] = [];
  for (const { folder } of all) {
    try {
      await proveWhole(folder);
      return folder;
    } catch (error) {
      if (!isWhetstoneError(error) || error.code === 'VERSION_UNSUPPORTED') throw error;
      problems.push(error);
      warn(`A checkpoint cannot be used, the one before is tried: ${error.toString()}`);
    }
  }
  if (problems.length === 0) return null;
  throw new WhetstoneError('CHECKPOINT_INVALID', 'None of the checkpoints is whole.', {
    ...(root === null ? {} : { place: { file: root } }),
    problems,
  });
}
