import { dispose, tidy, zeros, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { Batch } from '../contract/data.js';
import { WhetstoneError } from '../contract/errors.js';
import type { Attachment, StepContext } from '../contract/strategy.js';
import type { TensorBackendInfo } from '../contract/tokens.js';
import type { Workers } from '../contract/workers.js';
import { fingerprint, shardBatches } from './shard-batches.js';

/** This worker's shard of a step. */
interface StepShard<M> {
  readonly microbatches: readonly M[];
  /** Whether the shard of any worker is empty. Such a worker must receive the names of the gradients. */
  readonly someAreEmpty: boolean;
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
 * Distributes the steps of a run over the workers. All workers call the same methods at the same points of the run. In
 * a run of one process, each method returns its input unchanged.
 */
export interface StepSync {
  /**
   * Copies the parameters of worker 0 to all other workers, because a seed may give different numbers on different
   * machines.
   */
  broadcastParameters(
    owner: Pick<Attachment, 'trainable' | 'masters' | 'afterUpdate'>,
    backend: Pick<TensorBackendInfo, 'barrier'>,
  ): Promise<void>;
  /**
   * Returns this worker's shard of a step. Every worker passes the complete step.
   *
   * @throws `WORKER_FAILED` if the workers pass different steps
   */
  shardStep<M extends { readonly batch: Batch }>(
    step: number,
    microbatches: readonly M[],
    microbatchOf: (batch: Batch) => M,
  ): Promise<StepShard<M>>;
  /** Replaces gradients by their sums over all workers. The sums are recorded in the current graph. */
  allReduceGradients(
    gradients: Map<string, Tensor>,
    trainable: ReadonlyMap<string, Variable>,
    shard: Pick<StepShard<unknown>, 'someAreEmpty'>,
    context: StepContext,
  ): Promise<void>;
  /**
   * Merges the results of all workers before the update, so that either all of them update or none. The loss is the sum
   * over the workers. The update is skipped if any worker requests that.
   */
  reduceStepResult(step: number, own: ReducedStep): Promise<ReducedStep>;
  /** Returns the means of the metrics over the workers that recorded them, by name. */
  reduceMetrics(step: number, metrics: Readonly<Record<string, number>>): Promise<Readonly<Record<string, number>>>;
}

/** The steps of a run in one process. */
export const singleProcess: StepSync = {
  broadcastParameters: async () => undefined,
  shardStep: async (_, microbatches) => ({ microbatches, someAreEmpty: false }),
  allReduceGradients: async () => undefined,
  reduceStepResult: async (_, own) => own,
  reduceMetrics: async (_, metrics) => metrics,
};

/** Returns how the steps of a run are distributed over these workers. */
export function createStepSync(workers: Workers): StepSync {
  if (workers.count === 1) return singleProcess;
  return {
    broadcastParameters: (...values) => broadcastParameters(workers, ...values),
    shardStep: (...values) => shardStep(workers, ...values),
    allReduceGradients: (...values) => allReduceGradients(workers, ...values),
    reduceStepResult: (...values) => reduceStepResult(workers, ...values),
    reduceMetrics: (...values) => reduceMetrics(workers, ...values),
  };
}

async function shardStep<M extends { readonly batch: Batch }>(
  workers: Workers,
  step: number,
  microbatches: readonly M[],
  microbatchOf: (batch: Batch) => M,
): Promise<StepShard<M>> {
  const batches = microbatches.map(({ batch }) => batch);
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
  return {
    microbatches: (shards[workers.rank] ?? []).map(microbatchOf),
    someAreEmpty: shards.some((shard) => shard.length === 0),
  };
}

async function allReduceGradients(
  workers: Workers,
  gradients: Map<string, Tensor>,
  trainable: ReadonlyMap<string, Variable>,
  { someAreEmpty }: Pick<StepShard<unknown>, 'someAreEmpty'>,
  { step, record }: StepContext,
): Promise<void> {
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

async function reduceStepResult(workers: Workers, step: number, own: ReducedStep): Promise<ReducedStep> {
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

async function reduceMetrics(
  workers: Workers,
  step: number,
  metrics: Readonly<Record<string, number>>,
): Promise<Record<string, number>> {
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

/** Resolves when all workers have reached this point. */
export async function barrier(workers: Workers, what: string): Promise<void> {
  await workers.gather(what, null);
}

async function broadcastParameters(
  workers: Workers,
  owner: Pick<Attachment, 'trainable' | 'masters' | 'afterUpdate'>,
  backend: Pick<TensorBackendInfo, 'barrier'>,
): Promise<void> {
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
