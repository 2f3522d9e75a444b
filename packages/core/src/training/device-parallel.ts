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

/** The features of a backend that determine how the microbatches of a step are computed. */
type DeviceServices = Pick<TensorBackendInfo, 'barrier' | 'replicas' | 'sideBySide'>;

/**
 * Returns the gradients of a step's microbatches, summed by name.
 *
 * On several devices, each device sums the gradients of its shard, and then all devices exchange their sums. The
 * results, and all values computed from them until {@link releaseDevices}, are on every device. If the backend supports
 * it, a microbatch is computed as two halves in parallel.
 *
 * @param gradientsOf records the gradients of one microbatch, or the joint gradients of its halves, on the current
 *   device
 */
export function deviceParallelGradients<M extends { readonly batch: Batch }>(
  microbatches: readonly M[],
  microbatchOf: (batch: Batch) => M,
  backend: DeviceServices,
  gradientsOf: (microbatches: readonly M[]) => Map<string, Tensor>,
): Map<string, Tensor> {
  const { replicas, sideBySide } = backend;
  if (replicas === undefined) {
    const gradients = new Map<string, Tensor>();
    try {
      for (const [index, microbatch] of microbatches.entries()) {
        if (index > 0) backend.barrier();
        const halves = sideBySide === undefined ? [] : splitBatch(microbatch.batch);
        if (sideBySide === undefined || halves.length === 1) accumulate(gradients, gradientsOf([microbatch]));
        else sideBySide(() => accumulate(gradients, gradientsOf(halves.map(microbatchOf))));
      }
      return gradients;
    } catch (error) {
      disposeAll(gradients.values());
      throw error;
    }
  }
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
}

/** Ends a step on several devices. Subsequent operations run on the first device. */
export function releaseDevices({ replicas }: { readonly replicas?: TensorReplicas }): void {
  replicas?.use(0);
}
