import type { Tensor } from '@tensorflow/tfjs-core';
import type { Batch } from '../contract/data.js';
import type { TensorBackendInfo, TensorReplicas } from '../contract/tokens.js';
import { shardBatches } from '../distributed/shard-batches.js';
import { accumulate, disposeAll } from './gradients.js';
import { splitBatch } from './split-batch.js';

/** A part of a step and the device that computes it. */
interface DeviceShard<M> {
  readonly device: number;
  readonly microbatch: M;
}

/**
 * Deals a step's microbatches out over devices, so that those of one turn stand beside each other: while one works, the
 * next is recorded.
 */
function assignToDevices<M extends { readonly batch: Batch }>(
  microbatches: readonly M[],
  microbatchOf: (batch: Batch) => M,
  count: number,
): DeviceShard<M>[] {
  const parts = shardBatches(
    microbatches.map(({ batch }) => batch),
    { count },
  );
  const turns = Math.max(...parts.map((part) => part.length));
  return Array.from({ length: turns }, (_, turn) =>
    parts.flatMap((part, device) =>
      part[turn] === undefined ? [] : [{ device, microbatch: microbatchOf(part[turn]) }],
    ),
  ).flat();
}

/** What of a backend decides how the microbatches of a step are computed. */
type DeviceServices = Pick<TensorBackendInfo, 'barrier' | 'replicas' | 'sideBySide'>;

/**
 * Gradients of a step's microbatches, summed by name: on one device, or each device's part by itself and then over all
 * of them, which leaves the sums, and whatever is computed from them until {@link releaseDevices}, on every device.
 * Where a backend gains by it, a microbatch is computed in two halves beside each other.
 *
 * @param gradientsOf gradients of one microbatch, or of its halves together, recorded on the device in use
 */
export function deviceParallelGradients<M extends { readonly batch: Batch }>(
  microbatches: readonly M[],
  microbatchOf: (batch: Batch) => M,
  backend: DeviceServices,
  gradientsOf: (beside: readonly M[]) => Map<string, Tensor>,
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

/** Ends a step on several devices: what is recorded from now on is computed on the first. */
export function releaseDevices({ replicas }: { readonly replicas?: TensorReplicas }): void {
  replicas?.use(0);
}
