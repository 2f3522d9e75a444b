import { dispose, tidy, zeros, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { Batch } from '../contract/data.js';
import { WhetstoneError } from '../contract/errors.js';
import type { Attachment, StepContext } from '../contract/strategy.js';
import type { TensorBackendInfo } from '../contract/tokens.js';
import type { Workers } from '../contract/workers.js';
import { fingerprint, shardBatches } from './shard-batches.js';

/*
 * Collective operations of the workers, in a step and between steps. All workers call each function at the same point
 * of the run. In a run of one process, each function returns its input unchanged.
 */

/** This worker's shard of a step. */
export interface StepShard {
  readonly batches: readonly Batch[];
  /** Whether the shard of any worker is empty. Such a worker must receive the names of the gradients. */
  readonly someAreEmpty: boolean;
}

/**
 * Returns this worker's shard of a step. Every worker passes the complete step.
 *
 * @throws `WORKER_FAILED` if the workers pass different steps
 */
export async function shardStep(workers: Workers, step: number, batches: readonly Batch[]): Promise<StepShard> {
  if (workers.count === 1) return { batches, someAreEmpty: false };
  const fingerprints = await workers.gather(`step ${step + 1}`, fingerprint(batches));
  const other = fingerprints.findIndex((each) => each !== fingerprints[0]);
  if (other > 0) {
    throw new WhetstoneError('WORKER_FAILED', `Worker ${other} has different data from worker 0 at step ${step + 1}.`, {
      hint:
        'All workers must read the same files. A strategy or callback that chooses samples may use only the seed ' +
        'and the step.',
    });
  }
  const shards = shardBatches(batches, workers);
  return { batches: shards[workers.rank] ?? [], someAreEmpty: shards.some((shard) => shard.length === 0) };
}

/** Replaces gradients by their sums over all workers. The sums are recorded in the current graph. */
export async function allReduceGradients(
  workers: Workers,
  gradients: Map<string, Tensor>,
  trainable: ReadonlyMap<string, Variable>,
  { someAreEmpty }: StepShard,
  { step, record }: StepContext,
): Promise<void> {
  if (workers.count === 1) return;
  if (someAreEmpty) {
    const [names = []] = await workers.gather(`the gradients of step ${step + 1}`, [...gradients.keys()]);
    const own = new Map(gradients);
    gradients.clear();
    // In the order of rank 0, because the all-reduce matches tensors by position.
    for (const name of names) gradients.set(name, own.get(name) ?? zeros(trainable.get(name)?.shape ?? []));
  }
  const before = [...gradients.values()];
  const sums = workers.allReduce(gradients, record);
  gradients.clear();
  for (const [name, sum] of sums) gradients.set(name, sum);
  dispose([...before]);
}

/** The values that decide whether a step updates the parameters. */
export interface ReducedStep {
  readonly loss: number;
  /** Not finite if any gradient is not finite. */
  readonly probe: number;
  /** The reason for which a callback requested to skip the update; null without a request. */
  readonly skipReason: string | null;
  /** Whether a callback requests to skip updates that are not finite. */
  readonly skipsNonFinite: boolean;
}

/**
 * Merges the results of all workers before the update, so that either all of them update or none. The loss is the sum
 * over the workers. The update is skipped if any worker requests that.
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

/** Returns the means of the metrics over the workers that recorded them, by name. */
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
    // If all values are equal, the mean must be the same number to the last bit.
    means[name] = values.every((value) => value === first)
      ? first
      : values.reduce((sum, value) => sum + value, 0) / values.length;
  }
  return means;
}

/** Returns whether `mine` is true in any worker. */
export async function anyWorker(workers: Workers, what: string, mine: boolean): Promise<boolean> {
  return workers.count === 1 ? mine : (await workers.gather(what, mine)).includes(true);
}

/** Resolves when all workers have reached this point. */
export async function barrier(workers: Workers, what: string): Promise<void> {
  if (workers.count > 1) await workers.gather(what, null);
}

/**
 * Copies the parameters of worker 0 to all other workers, because a seed may give different numbers on different
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
    // Worker 0 assigns them, too: a backend may skip results that are not used, and the other workers would wait.
    if (value !== undefined) variable.assign(value as Tensor<typeof variable.rankType>);
    value?.dispose();
  }
  owner.afterUpdate?.();
  backend.barrier();
  await barrier(workers, 'the start');
}
