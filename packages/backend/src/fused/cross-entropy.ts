import { int, type } from '../kernels/attributes.js';
import type { Emitter } from '../kernels/emitter.js';
import { vector, type HostOperand, type Kernel } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';
import { lowerSparseCrossEntropy } from './cross-entropy.stablehlo.js';
import { owned } from './owned.js';

/** Probabilities of each row of logits, the largest of a row, and the largest logit. */
interface Probabilities<T> {
  readonly probabilities: T;
  readonly largest: T;
  readonly largestLogit: T;
}

function wholeSoftmax<T>(emit: Emitter<T>, logits: T): Probabilities<T> {
  const columns = emit.constant('int32', [1], [1]);
  const probabilities = emit.op('Softmax', [logits]);
  return {
    probabilities,
    largest: emit.op('Max', [probabilities, columns]),
    largestLogit: emit.op('Max', [logits, columns]),
  };
}

/**
 * The same in the memory of the logits, stretch of rows by stretch: oneDNN's softmax writes elsewhere, so that beside
 * the logits lies one stretch. Nearly as fast as the whole, as a stretch stays in the cache.
 *
 * @param numbers the numbers of the rows
 * @param bounds where each stretch begins, and where the last one ends
 * @param after what has read the logits before
 */
function softmaxInPlace<T>(emit: Emitter<T>, logits: T, numbers: T, bounds: readonly T[], after: T): Probabilities<T> {
  const columns = emit.constant('int32', [1], [1]);
  const one = emit.constant('int32', [1], [1]);
  const own = owned(emit, logits, [after, bounds[1]!]);
  const largest: T[] = [];
  const largestLogits: T[] = [];
  let written: T | null = null;
  for (const [index, begin] of bounds.slice(0, -1).entries()) {
    const cut = (x: T, waits: readonly T[]): T =>
      emit.op('StridedSlice', [x, begin, bounds[index + 1]!, one], {}, waits);
    // One stretch after the other.
    const stretch = cut(own, written === null ? [] : [written]);
    const probabilities = emit.op('Softmax', [stretch]);
    const read = [emit.op('Max', [probabilities, columns]), emit.op('Max', [stretch, columns])] as const;
    largest.push(read[0]);
    largestLogits.push(read[1]);
    written = emit.op('InplaceUpdate', [written ?? own, cut(numbers, []), probabilities], {}, read);
  }
  const join = (stretches: readonly T[]): T => emit.op('ConcatV2', [stretches, emit.constant('int32', [], [0])]);
  return { probabilities: written ?? own, largest: join(largest), largestLogit: join(largestLogits) };
}

/** Where each of `count` stretches of `rows` begins, and where the last one ends. None for one stretch. */
function boundsOf(rows: number, count: number): HostOperand[] {
  if (count === 1) return [];
  const size = Math.ceil(rows / count);
  return Array.from({ length: count + 1 }, (_, index) => vector([Math.min(rows, index * size)]));
}

/**
 * Cross-entropy of each row against one class, and its gradient: logits [n, v] and targets [n] give losses [n] and
 * softmax − one-hot [n, v].
 *
 * Written with Softmax, which oneDNN computes on all cores: TensorFlow's own fused op takes four times as long over
 * 49,152 columns. The logarithm of the normaliser is exact enough from the largest logit and the largest probability,
 * which is at least 1/v.
 */
export const sparseCrossEntropy: Kernel = {
  name: 'WhetstoneSparseCrossEntropy',
  inputs: ['logits', 'targets'],
  list: true,
  eager: false,
  rule: ([logits], { stretches }) => {
    const { shape } = logits as Spec;
    const [rows = 0] = shape;
    return {
      outputs: [
        { shape: shape.slice(0, 1), dtype: 'float32' },
        { shape, dtype: 'float32' },
      ],
      host: boundsOf(rows, (stretches as number | undefined) ?? 1),
    };
  },
  tensorflow: (emit, [logits, targets], bounds) => {
    const zero = emit.constant('int32', [], [0]);
    const one = emit.constant('int32', [], [1]);
    const rows = emit.op('Range', [zero, emit.op('Size', [targets!], { out_type: type('int32') }), one], {});
    const chosen = emit.op('Pack', [[rows, targets!]], { axis: int(1) });
    const ofTargets = emit.op('GatherNd', [logits!, chosen]);
    const { probabilities, largest, largestLogit } =
      bounds.length === 0 ? wholeSoftmax(emit, logits!) : softmaxInPlace(emit, logits!, rows, bounds, ofTargets);
    const loss = emit.op('Sub', [emit.op('Sub', [largestLogit, emit.op('Log', [largest])]), ofTargets]);
    // In the memory of the probabilities; TensorScatterSub would copy them.
    return [
      loss,
      emit.op('ScatterNdNonAliasingAdd', [probabilities, chosen, emit.op('Neg', [emit.op('OnesLike', [loss])])]),
    ];
  },
  stablehlo: lowerSparseCrossEntropy,
};
