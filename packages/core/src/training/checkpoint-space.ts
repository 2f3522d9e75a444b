import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { folderCheckpoints, listCheckpoints, type CheckpointSources } from '../checkpoint/index.js';
import type { TrainingConfig } from '../config/types.js';
import { fileError, statOf } from '../files/index.js';
import { formatBytes } from '../util/index.js';
import type { RunProgress } from './progress.js';
import type { StepPlan } from './step-plan.js';
import type { TrainRun } from './train-run.js';

const BYTES_PER_VALUE = 4;

interface Sized {
  readonly size: number;
}

const sizeOf = (tensors: Iterable<Sized>): number => Array.from(tensors, ({ size }) => size).reduce((a, b) => a + b, 0);

/** Returns the size of a checkpoint in bytes, without its JSON files. */
function checkpointBytes({
  attachments,
  optimizer,
  loaded,
}: Pick<CheckpointSources, 'attachments' | 'optimizer' | 'loaded'>): number {
  const [{ instance: owner }] = attachments;
  const parameters = new Set<Sized>(loaded.model.parameters.values());
  const isAdapter = owner.exportAdapter !== undefined;
  const added = [...owner.trainable.values()].filter((variable) => isAdapter || !parameters.has(variable));
  const bytesOfModel = (owner.savedAs === 'bfloat16' ? 2 : BYTES_PER_VALUE) * (isAdapter ? 0 : sizeOf(parameters));
  const states = attachments.map(({ instance }) => sizeOf(instance.saveState().tensors.values()));
  const moments = optimizer.instance.stateValues?.(owner.trainable) ?? 2 * sizeOf(owner.trainable.values());
  return bytesOfModel + BYTES_PER_VALUE * (sizeOf(added) + moments + states.reduce((a, b) => a + b, 0));
}

/**
 * Returns the largest number of checkpoints that a run will have on the disk at once, with the one that is being
 * written. `step` is the step that the run has done, and `totalSteps` the one that ends it.
 */
export function mostCheckpoints(
  {
    saveStrategy,
    saveTotalLimit,
    loadBestModelAtEnd,
  }: Pick<TrainingConfig, 'saveStrategy' | 'saveTotalLimit' | 'loadBestModelAtEnd'>,
  {
    step,
    totalSteps,
    saveSteps,
    stepsPerEpoch,
  }: Pick<StepPlan, 'totalSteps' | 'saveSteps' | 'stepsPerEpoch'> & {
    readonly step: number;
  },
): number {
  if (saveStrategy === 'no' || step >= totalSteps) return loadBestModelAtEnd ? 1 : 0;
  const interval = saveStrategy === 'epoch' ? stepsPerEpoch : saveSteps;
  // The last step is always saved.
  const saves = Math.floor((totalSteps - 1) / interval) - Math.floor(step / interval) + 1;
  const best = loadBestModelAtEnd ? 1 : 0;
  if (saveTotalLimit === null) return saves + best;
  // The newest and the best checkpoint are never removed.
  const kept = Math.max(saveTotalLimit, 1 + best);
  return Math.min(kept + 1, saves + best);
}

/** Returns the bytes that are free on the disk of a folder, which need not exist yet. */
async function freeBytes(folder: string): Promise<number> {
  if ((await statOf(folder)) === null) return freeBytes(dirname(folder));
  const { bavail, bsize } = await statfs(folder).catch((cause: unknown) => {
    throw fileError(cause, folder);
  });
  return bavail * bsize;
}

/**
 * Compares the space that the checkpoints of a run will need with what is free, and warns if it is too little. Counts
 * those that the folder has already.
 *
 * @throws the errors of `fileError` if the folder cannot be read
 */
export async function warnAboutSpace(
  run: TrainRun,
  sources: CheckpointSources,
  plan: StepPlan,
  { state, totalSteps }: Pick<RunProgress, 'state' | 'totalSteps'>,
): Promise<void> {
  const { outputFolder, checkpoints, config } = run;
  // Another store may keep them anywhere.
  if (outputFolder === null || checkpoints !== folderCheckpoints) return;
  const most = mostCheckpoints(config.training, { ...plan, totalSteps, step: state.step });
  const present = (await listCheckpoints(outputFolder)).length;
  const limit = config.training.saveTotalLimit;
  const count = limit === null ? most : Math.max(0, most - present);
  const bytes = checkpointBytes(sources);
  const free = await freeBytes(outputFolder);
  if (count * bytes <= free) return;
  run.warn(
    `The checkpoints will need about ${formatBytes(count * bytes)} (${count} of ${formatBytes(bytes)}), but ` +
      `${formatBytes(free)} are free on the disk of ${outputFolder}. training.saveTotalLimit and training.saveSteps ` +
      'decide how many there are.',
  );
}
