import { dispose, tidy, zeros, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { Batch } from '../contract/data.js';
import { WhetstoneError } from '../contract/errors.js';
import type { Attachment, StepContext } from '../contract/strategy.js';
import type { TensorBackendInfo } from '../contract/tokens.js';
import type { Workers } from '../contract/workers.js';
import { fingerprint, shardBatches } from './shard-batches.js';

/*
 * What several workers do together, in a step and between steps. All workers call each function at the same point of
 * the run. In a run of one process, each function returns its input unchanged.
 */

/** This worker's part of a step. `someHaveNone`: a worker without a part has to be told which gradients there are. */
export interface StepShard {
  readonly batches: readonly Batch[];
  readonly someHaveNone: boolean;
}

/**
 * Deals out a step that every worker has before it.
 *
 * @throws `WORKER_FAILED` where they have not the same step before them
 */
export async function shardStep(workers: Workers, step: number, batches: readonly Batch[]): Promise<StepShard> {
  if (workers.count === 1) return { batches, someHaveNone: false };
  const seen = await workers.gather(`step ${step + 1}`, fingerprint(batches));
  const other = seen.findIndex((each) => each !== seen[0]);
  if (other > 0) {
    throw new WhetstoneError(
      'WORKER_FAILED',
      `Worker ${other} has other data before it at step ${step + 1} than worker 0.`,
      {
        hint:
          'All workers read the same files. A strategy or callback that chooses samples has to choose them by ' +
          'the seed and the step alone.',
      },
    );
  }
  const parts = shardBatches(batches, workers);
  return { batches: parts[workers.rank] ?? [], someHaveNone: parts.some((part) => part.length === 0) };
}

/** Replaces gradients by their sums over all workers, recorded into the graph at work. */
export async function allReduceGradients(
  workers: Workers,
  gradients: Map<string, Tensor>,
  trainable: ReadonlyMap<string, Variable>,
  { someHaveNone }: StepShard,
  { step, record }: StepContext,
): Promise<void> {
  if (workers.count === 1) return;
  if (someHaveNone) {
    const [names = []] = await workers.gather(`the gradients of step ${step + 1}`, [...gradients.keys()]);
    const own = new Map(gradients);
    gradients.clear();
    // In the order of rank 0, as sums go by position.
    for (const name of names) gradients.set(name, own.get(name) ?? zeros(trainable.get(name)?.shape ?? []));
  }
  const before = [...gradients.values()];
  const sums = workers.allReduce(gradients, record);
  gradients.clear();
  for (const [name, sum] of sums) gradients.set(name, sum);
  dispose([...before]);
}

/** What decides whether a step makes its update. */
export interface ReducedStep {
  readonly loss: number;
  /** Not finite if a gradient is not. */
  readonly probe: number;
  /** Why a callback asked to skip the update; null if none did. */
  readonly skipReason: string | null;
  /** Whether a callback asks to skip the update of a step that is not finite. */
  readonly skipsNonFinite: boolean;
}

/**
 * Merges what the workers know of a step before its update, so that all of them make it or none does. The loss is the
 * sum over the workers; the update is skipped if any of them asks for that.
 */
export async function reduceStepResult(workers: Workers, step: number, own: ReducedStep): Promise<ReducedStep> {
  if (workers.count === 1) return own;
  // JSON has no NaN.
  const all = await workers.gather(`the loss of step ${step + 1}`, {
    ...own,
    loss: String(own.loss),
    probe: String(own.probe),
  });
  const probes = all.map((each) => Number(each.probe));
  return {
    loss: all.reduce((sum, each) => sum + Number(each.loss), 0),
    probe: probes.find((probe) => !Number.isFinite(probe)) ?? own.probe,
    skipReason: all.find((each) => each.skipReason !== null)?.skipReason ?? null,
    skipsNonFinite: all.some((each) => each.skipsNonFinite),
  };
}

/** Means of what the workers recorded, by name. */
export async function reduceMetrics(
  workers: Workers,
  step: number,
  metrics: Readonly<Record<string, number>>,
): Promise<Record<string, number>> {
  if (workers.count === 1) return { ...metrics };
  const all = await workers.gather(
    `the metrics of step ${step + 1}`,
    Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, String(value)])),
  );
  const means: Record<string, number> = {};
  for (const name of new Set(all.flatMap((each) => Object.keys(each)))) {
    const values = all.flatMap((each) => (name in each ? [Number(each[name])] : []));
    const [first = NaN] = values;
    // What all computed alike stays as it is, to the last bit.
    means[name] = values.every((value) => value === first)
      ? first
      : values.reduce((sum, value) => sum + value, 0) / values.length;
  }
  return means;
}

/** Whether any worker says so. */
export async function anyWorker(workers: Workers, what: string, mine: boolean): Promise<boolean> {
  return workers.count === 1 ? mine : (await workers.gather(what, mine)).includes(true);
}

/** Returns when all workers have come here. */
export async function barrier(workers: Workers, what: string): Promise<void> {
  if (workers.count > 1) await workers.gather(what, null);
}

/**
 * Puts the values that the parameters have at worker 0 into those of all others: what a seed gives may differ between
 * machines.
 */
export async function broadcastParameters(
  workers: Workers,
  owner: Pick<Attachment, 'trainable' | 'masters' | 'afterUpdate'>,
  backend: Pick<TensorBackendInfo, 'barrier'>,
): Promise<void> {
  if (workers.count === 1) return;
  const trainable = owner.masters ?? owner.trainable;
  const own = new Map(
    [...trainable].map(
      ([name, variable]) => [name, workers.rank === 0 ? variable.clone() : tidy(() => zeros(variable.shape))] as const,
    ),
  );
  const sums = workers.allReduce(own);
  dispose([...own.values()]);
  for (const [name, variable] of trainable) {
    const value = sums.get(name);
    // Worker 0 takes them as well: what nobody wants is not computed, and the others wait for it.
    if (value !== undefined) variable.assign(value as Tensor<typeof variable.rankType>);
    value?.dispose();
  }
  owner.afterUpdate?.();
  backend.barrier();
  await barrier(workers, 'the start');
}
