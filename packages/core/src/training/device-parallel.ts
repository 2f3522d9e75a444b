import type { Tensor } from '@tensorflow/tfjs-core';
import type { Batch } from '../contract/data.js';
import type { TensorBackendInfo, TensorReplicas } from '../contract/tokens.js';
import { shardBatches } from '../distributed/shard-batches.js';
import { accumulate, disposeAll } from './gradients.js';
import { splitBatch } from './split-batch.js';

/** A microbatch and the device that computes it. */
interface DeviceAssignment<M> {
  readonly device: number;
  readonly microbatch: M;
}

/**
 * Assigns the microbatches of a step to devices, ordered by rounds of one microbatch per device. While one device
 * computes, the microbatch of the next device is recorded.
 */
function assignToDevices<M extends { readonly batch: Batch }>(
  microbatches: readonly M[],
  microbatchOf: (batch: Batch) => M,
  count: number,
): DeviceAssignment<M>[] {
  const shards = shardBatches(
    microbatches.map(({ batch }) => batch),
    { count },
  );
  const rounds = Math.max(...shards.map((shard) => shard.length));
  return Array.from({ length: rounds }, (_, round) =>
    shards.flatMap((shard, device) =>
      shard[round] === undefined ? [] : [{ device, microbatch: microbatchOf(shard[round]) }],
    ),
  ).flat();
}

/** Computes the gradients of a step's microbatches, on one device or several. */
export interface GradientAccumulator {
  /**
   * Returns the gradients of the microbatches, summed by name. The results are on every device, as are all values
   * computed from them until `release`.
   *
   * @param gradientsOf records the gradients of one microbatch, or the joint gradients of its halves, on the current
   *   device
   */
  sum<M extends { readonly batch: Batch }>(
    microbatches: readonly M[],
    microbatchOf: (batch: Batch) => M,
    gradientsOf: (microbatches: readonly M[]) => Map<string, Tensor>,
  ): Map<string, Tensor>;
  /** Ends a step. Subsequent operations run on the first device. */
  release(): void;
}

/**
 * Returns the accumulator for a backend.
 *
 * @param mayHalve whether a microbatch may be computed as two halves in parallel, if the backend supports it
 */
export function gradientAccumulator(
  backend: Pick<TensorBackendInfo, 'barrier' | 'replicas' | 'sideBySide'>,
  mayHalve: boolean,
): GradientAccumulator {
  if (backend.replicas !== undefined) return onSeveralDevices(backend.replicas);
  const sideBySide = mayHalve ? backend.sideBySide?.bind(backend) : undefined;
  return onOneDevice(() => backend.barrier(), sideBySide === undefined ? asOne : inHalves(sideBySide));
}

/** Computes a microbatch: complete, or in halves. */
type Compute = <M extends { readonly batch: Batch }>(
  microbatch: M,
  microbatchOf: (batch: Batch) => M,
  gradientsOf: (microbatches: readonly M[]) => Map<string, Tensor>,
  add: (gradients: Map<string, Tensor>) => void,
) => void;

const asOne: Compute = (microbatch, _, gradientsOf, add) => add(gradientsOf([microbatch]));

const inHalves =
  (sideBySide: NonNullable<TensorBackendInfo['sideBySide']>): Compute =>
  (microbatch, microbatchOf, gradientsOf, add) => {
    const halves = splitBatch(microbatch.batch);
    if (halves.length === 1) add(gradientsOf([microbatch]));
    else sideBySide(() => add(gradientsOf(halves.map(microbatchOf))));
  };

const onOneDevice = (barrier: () => void, compute: Compute): GradientAccumulator => ({
  sum: (microbatches, microbatchOf, gradientsOf) => {
    const gradients = new Map<string, Tensor>();
    try {
      for (const [index, microbatch] of microbatches.entries()) {
        if (index > 0) barrier();
        compute(microbatch, microbatchOf, gradientsOf, (more) => accumulate(gradients, more));
      }
      return gradients;
    } catch (error) {
      disposeAll(gradients.values());
      throw error;
    }
  },
  release: () => undefined,
});

/** Each device sums the gradients of its shard. Then all devices exchange their sums. */
const onSeveralDevices = (replicas: TensorReplicas): GradientAccumulator => ({
  sum: (microbatches, microbatchOf, gradientsOf) => {
    const sums = Array.from({ length: replicas.count }, () => new Map<string, Tensor>());
    try {
      for (const { device, microbatch } of assignToDevices(microbatches, microbatchOf, replicas.count)) {
        replicas.use(device);
        accumulate(sums[device] as Map<string, Tensor>, gradientsOf([microbatch]));
      }
      replicas.use('all');
      const gradients = new Map<string, Tensor>();
      for (const name of new Set(sums.flatMap((sum) => [...sum.keys()])))
        gradients.set(name, replicas.sum(sums.flatMap((sum) => sum.get(name) ?? [])));
      return gradients;
    } finally {
      for (const sum of sums) disposeAll(sum.values());
    }
  },
  release: () => replicas.use(0),
});
