import { engine, type NamedTensorMap, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type TensorCluster, type TensorCollective } from '@whetstone/core/contract';
import type { Engine, EngineCollective } from '../engines/engine.js';
import { ALL_REDUCE_KERNEL, type AllReduceAttributes } from './all-reduce-kernel.js';

/**
 * Consecutive tensors in buckets of at most so many bytes; a larger tensor is a bucket alone. Gives how many tensors
 * each bucket has.
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

/**
 * So many buckets at least, where they are not smaller than a MiB: a single one would have to wait for the end of the
 * backward pass.
 */
const FEWEST_BUCKETS = 8;

/** Which numbers stand for which lists of shapes. */
interface Keys {
  readonly byLayout: Map<string, number>;
  next: number;
}

// TensorFlow tells messages apart by number, and expects the same shapes under the same number for the life of the
// process. All processes sum the same lists in the same order, so that they count alike.
const keysOf = new WeakMap<EngineCollective, Keys>();

/** Sums over processes by TensorFlow's collective runtime. */
export function createCollective(
  { engine: own }: { readonly engine: Engine },
  { count, timeoutSeconds }: TensorCluster,
): TensorCollective {
  const { collective } = own;
  if (collective === undefined) throw new WhetstoneError('INTERNAL', `The engine ${own.name} has joined no cluster.`);
  const keys = keysOf.get(collective) ?? { byLayout: new Map<string, number>(), next: 1 };
  keysOf.set(collective, keys);
  return {
    sum: (tensors, bucketBytes) => {
      const bytes = tensors.map(({ size }) => 4 * size);
      const most = Math.max(2 ** 20, bytes.reduce((sum, each) => sum + each, 0) / FEWEST_BUCKETS);
      const buckets = bucketsOf(bytes, Math.min(bucketBytes, most));
      const layout = `${buckets.join()};${tensors.map(({ shape }) => shape.join('x')).join()}`;
      let firstKey = keys.byLayout.get(layout);
      if (firstKey === undefined) {
        firstKey = keys.next;
        keys.byLayout.set(layout, firstKey);
        keys.next += buckets.length;
      }
      const attributes: AllReduceAttributes = { buckets, firstKey, workers: count, timeoutSeconds };
      const inputs: NamedTensorMap = Object.fromEntries(tensors.map((tensor, index) => [String(index), tensor]));
      const outputs = engine().runKernel<Tensor[]>(ALL_REDUCE_KERNEL, inputs, attributes as never);
      const [seconds, waitSeconds] = outputs.slice(tensors.length) as [Scalar, Scalar];
      return { sums: outputs.slice(0, tensors.length), seconds, waitSeconds };
    },
    abort: (reason) => collective.abort(reason),
  };
}
