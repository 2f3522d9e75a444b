import { engine as tfjs, type NamedTensorMap, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type TensorCluster, type TensorCollective } from '@whetstone/core/contract';
import type { EngineCollective, LocalSums } from '../engines/engine.js';
import type { WhetstoneBackend } from '../recorder/backend.js';
import { ALL_REDUCE_KERNEL, type AllReduceAttributes } from './all-reduce-kernel.js';

/**
 * Groups consecutive tensors into buckets of at most `bucketBytes`. A larger tensor is a bucket by itself. Returns the
 * number of tensors of each bucket.
 */
export function bucketsOf(bytes: readonly number[], bucketBytes: number): number[] {
  const buckets: number[] = [];
  let filled = Infinity;
  for (const size of bytes) {
    if (filled + size > bucketBytes) {
      buckets.push(0);
      filled = 0;
    }
    buckets.push((buckets.pop() ?? 0) + 1);
    filled += size;
  }
  return buckets;
}

/** Fewest buckets, unless they would be smaller than 1 MiB: one bucket would wait for the end of the backward pass. */
const MIN_BUCKETS = 8;

/** Instance keys by list of shapes. */
interface InstanceKeys {
  readonly byLayout: Map<string, number>;
  next: number;
}

// TensorFlow identifies messages by instance key, and expects the same shapes for a key until the process ends. All
// processes sum the same lists in the same order, so that they assign the same keys.
const keysOf = new WeakMap<EngineCollective, InstanceKeys>();

/** Returns sums over processes: on one machine our own, otherwise those of TensorFlow's collective runtime. */
export function createCollective(backend: WhetstoneBackend, cluster: TensorCluster): TensorCollective {
  const { engine } = backend;
  const { collective } = engine;
  if (collective === undefined)
    throw new WhetstoneError('INTERNAL', `The engine ${engine.name} does not belong to a cluster.`);
  if (collective.local !== undefined) return localCollective(backend, collective, collective.local);
  return tensorflowCollective(collective, cluster);
}

function localCollective(backend: WhetstoneBackend, { abort }: EngineCollective, local: LocalSums): TensorCollective {
  return {
    sum: (tensors) => {
      const outputs = backend
        .sumOverProcesses(tensors, local)
        .map((info) => tfjs().makeTensorFromTensorInfo(info) as Tensor);
      const seconds = outputs.at(-1) as Scalar;
      // The sum starts after the backward pass, so that the worker waits for all of it.
      return { sums: outputs.slice(0, -1), seconds, waitSeconds: seconds.clone() };
    },
    abort,
  };
}

function tensorflowCollective(
  collective: EngineCollective,
  { count, timeoutSeconds }: TensorCluster,
): TensorCollective {
  const keys = keysOf.get(collective) ?? { byLayout: new Map<string, number>(), next: 1 };
  keysOf.set(collective, keys);
  return {
    sum: (tensors, bucketBytes) => {
      const bytes = tensors.map(({ size }) => 4 * size);
      const limit = Math.max(2 ** 20, bytes.reduce((sum, each) => sum + each, 0) / MIN_BUCKETS);
      const buckets = bucketsOf(bytes, Math.min(bucketBytes, limit));
      const layout = `${buckets.join()};${tensors.map(({ shape }) => shape.join('x')).join()}`;
      let firstKey = keys.byLayout.get(layout);
      if (firstKey === undefined) {
        firstKey = keys.next;
        keys.byLayout.set(layout, firstKey);
        keys.next += buckets.length;
      }
      const attributes: AllReduceAttributes = { buckets, firstKey, workers: count, timeoutSeconds };
      const inputs: NamedTensorMap = Object.fromEntries(tensors.map((tensor, index) => [String(index), tensor]));
      const outputs = tfjs().runKernel<Tensor[]>(ALL_REDUCE_KERNEL, inputs, attributes as never);
      const [seconds, waitSeconds] = outputs.slice(tensors.length) as [Scalar, Scalar];
      return { sums: outputs.slice(0, tensors.length), seconds, waitSeconds };
    },
    abort: (reason) => collective.abort(reason),
  };
}
