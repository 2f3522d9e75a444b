import { randomUUID } from 'node:crypto';
import { cp } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { isWhetstoneError } from '../contract/errors.js';
import { exists, isWithin, MANIFEST_FILE, readTextIfPresent, writeFolder } from '../files/index.js';
import { isRecord } from '../util/index.js';
import { abandon, checkpointFolder, listCheckpoints } from './folders.js';
import { readJson, verifyCheckpoint } from './manifest.js';
import { parseRunState, STATE_FILE, type Attempt, type RunState } from './run-state.js';

/** What decides which checkpoints belong to the history of another one. */
type Lineage = Pick<RunState, 'step' | 'attempts'>;

/** Returns the attempts of a run that continues now. */
export const withNewAttempt = ({ attempts, step }: Lineage): readonly Attempt[] => [
  ...attempts,
  { id: randomUUID(), startStep: step },
];

/**
 * Returns whether a run passed through `earlier` before it reached `later`. Checkpoints of versions that recorded no
 * attempts count if their step is not later than the first recorded one.
 */
function isInHistory(earlier: Lineage, later: Lineage): boolean {
  const last = earlier.attempts.at(-1);
  if (last === undefined) return earlier.step <= (later.attempts[0]?.startStep ?? later.step);
  const index = later.attempts.findIndex(({ id }) => id === last.id);
  return index >= 0 && earlier.step <= (later.attempts[index + 1]?.startStep ?? later.step);
}

/**
 * Makes the checkpoints of a folder the history of a run that continues from `checkpoint`: moves all others into a new
 * folder `abandoned-<n>/`, so that they are never chosen, counted or deleted. Copies what the run needs if the
 * checkpoint is in a different folder: its best weights, and the checkpoint if it was abandoned earlier.
 *
 * @throws `CHECKPOINT_INVALID` if the checkpoint does not contain the state of a run, or a copied one is damaged
 * @throws the errors of `writeError`
 */
export async function continueFrom(checkpoint: string, root: string, warn: (message: string) => void): Promise<void> {
  const state = await readRunState(checkpoint);
  const others: string[] = [];
  for (const { folder, step } of await listCheckpoints(root))
    if (!(await belongsTo(folder, step, { checkpoint, state }))) others.push(folder);
  await abandonOthers(root, others, state.step, warn);
  if (resolve(dirname(checkpoint)) === resolve(root)) return;
  const copies = new Map<number, string>();
  if (state.best !== null) copies.set(state.best.step, checkpointFolder(dirname(checkpoint), state.best.step));
  // Otherwise the newest checkpoint of the run would be an earlier one until it saves the next.
  if (isWithin(root, checkpoint)) copies.set(state.step, checkpoint);
  for (const [step, source] of copies) {
    const copy = checkpointFolder(root, step);
    if (!exists(source) || exists(copy)) continue;
    await writeFolder(copy, async (temporary) => {
      await cp(source, temporary, { recursive: true });
      // The checkpoint from which the run continues was verified when it was found.
      if (step !== state.step) await verifyCheckpoint(temporary);
    });
  }
}

/**
 * Moves the checkpoints of steps after `step`, to which a run was rolled back, into a new folder `abandoned-<n>/`: the
 * steps that they contain were undone.
 */
export async function abandonAfter(root: string, step: number, warn: (message: string) => void): Promise<void> {
  const later = (await listCheckpoints(root)).filter((checkpoint) => checkpoint.step > step);
  await abandonOthers(
    root,
    later.map(({ folder }) => folder),
    step,
    warn,
  );
}

async function abandonOthers(
  root: string,
  folders: readonly string[],
  step: number,
  warn: (message: string) => void,
): Promise<void> {
  if (folders.length === 0) return;
  const abandoned = await abandon(root, folders);
  warn(
    `The run continues after step ${step}. The checkpoints that are not in its history were moved to ` +
      `${abandoned} and are not used: ${folders.map((folder) => relative(root, folder)).join(', ')}.`,
  );
}

/** Returns whether a checkpoint of the run's folder belongs to the history of the one from which the run continues. */
async function belongsTo(
  folder: string,
  step: number,
  { checkpoint, state }: { readonly checkpoint: string; readonly state: RunState },
): Promise<boolean> {
  if (resolve(folder) === resolve(checkpoint)) return true;
  if (step > state.step) return false;
  if (step === state.step) return (await manifestOf(folder)) === (await manifestOf(checkpoint));
  // A damaged checkpoint of an earlier step is never chosen anyway.
  return readRunState(folder).then(
    (earlier) => isInHistory(earlier, state),
    (error: unknown) => {
      if (isWhetstoneError(error) && error.code === 'CHECKPOINT_INVALID') return true;
      throw error;
    },
  );
}

const manifestOf = (folder: string): Promise<string | null> => readTextIfPresent(join(folder, MANIFEST_FILE));

async function readRunState(folder: string): Promise<RunState> {
  const file = join(folder, STATE_FILE);
  const saved = await readJson(file);
  return parseRunState(isRecord(saved) ? saved['run'] : null, file);
}
