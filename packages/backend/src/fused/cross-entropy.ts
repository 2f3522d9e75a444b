import type { Hlo, ModuleBuilder } from '../engines/xla/stablehlo/builder.js';
import { int, type, type Emitter } from '../kernels/emitter.js';
import { vector, type HostOperand, type Kernel } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';
import { uniquelyOwned } from './memory.js';

/** Softmax of logits [rows, classes], and for each row the largest probability and the largest logit. */
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
 * Computes the softmax in the memory of the logits, block of rows by block of rows. oneDNN's softmax writes elsewhere,
 * so that one block exists in addition to the logits. A block stays in the cache, so this is nearly as fast as one
 * softmax of all rows.
 *
 * @param rowNumbers int32 [rows], the row numbers 0 to rows − 1
 * @param bounds the first row of each block, then the number of rows
 * @param reader an earlier reader of the logits
 */
function softmaxInPlace<T>(
  emit: Emitter<T>,
  logits: T,
  rowNumbers: T,
  bounds: readonly T[],
  reader: T,
): Probabilities<T> {
  const columns = emit.constant('int32', [1], [1]);
  const one = emit.constant('int32', [1], [1]);
  const buffer = uniquelyOwned(emit, logits, [reader, bounds[1]!]);
  const largest: T[] = [];
  const largestLogits: T[] = [];
  let written: T | null = null;
  for (const [index, begin] of bounds.slice(0, -1).entries()) {
    const slice = (x: T, controlInputs: readonly T[]): T =>
      emit.op('StridedSlice', [x, begin, bounds[index + 1]!, one], {}, controlInputs);
    // The control input keeps the blocks in sequence.
    const block = slice(buffer, written === null ? [] : [written]);
    const probabilities = emit.op('Softmax', [block]);
    const maxima = [emit.op('Max', [probabilities, columns]), emit.op('Max', [block, columns])] as const;
    largest.push(maxima[0]);
    largestLogits.push(maxima[1]);
    written = emit.op('InplaceUpdate', [written ?? buffer, slice(rowNumbers, []), probabilities], {}, maxima);
  }
  const join = (blocks: readonly T[]): T => emit.op('ConcatV2', [blocks, emit.constant('int32', [], [0])]);
  return { probabilities: written ?? buffer, largest: join(largest), largestLogit: join(largestLogits) };
}

/** Returns the first row of each of `count` blocks, then the number of rows. Empty for one block. */
function blockBounds(rows: number, count: number): HostOperand[] {
  if (count === 1) return [];
  const size = Math.ceil(rows / count);
  return Array.from({ length: count + 1 }, (_, index) => vector([Math.min(rows, index * size)]));
}

/**
 * Lowers to as few passes over the logits as XLA fuses them into. The gradient finds the target's position by comparing
 * it with an iota, so that nothing is scattered.
 */
function lowerSparseCrossEntropy(b: ModuleBuilder, [logits, targets]: readonly Hlo[]): readonly Hlo[] {
  // A CPU reduces over rows faster than along them, and its wide matrix products are computed transposed.
  const [classAxis, rowAxis] = b.onProcessor ? [0, 1] : [1, 0];
  const oriented = (x: Hlo): Hlo => (b.onProcessor ? b.transpose(x, [1, 0]) : x);
  const x = oriented(logits as Hlo);
  const target = targets as Hlo;
  const perRow = (row: Hlo): Hlo => b.broadcastAlong(row, x.shape, [rowAxis]);
  const columns = [b.reshape(target, [...target.shape, 1]), b.reshape(b.iota(target.shape, 0), [...target.shape, 1])];
  const largest = b.reduce('maximum', x, [classAxis], -Infinity);
  const exponentials = b.unary('exponential', b.binary('subtract', x, perRow(largest)));
  const total = b.reduce('add', exponentials, [classAxis], 0);
  const targetLogit = b.op('GatherNd', [x, b.concatenate(b.onProcessor ? columns : columns.reverse(), 1)]);
  const isTarget = b.compare('EQ', perRow(target), b.iota(x.shape, classAxis));
  const gradient = b.binary(
    'subtract',
    b.binary('divide', exponentials, perRow(total)),
    b.convert(isTarget, 'float32'),
  );
  return [b.binary('subtract', b.unary('log', total), b.binary('subtract', targetLogit, largest)), oriented(gradient)];
}

/**
 * Cross-entropy of each row against one class, and its gradient. Logits [n, v] and targets [n] give losses [n] and
 * softmax − one-hot [n, v]. The attribute `stretches` is the number of row blocks.
 *
 * Based on Softmax, which oneDNN computes on all cores: TensorFlow's own fused op takes four times as long over 49,152
 * columns. The normalizer's logarithm follows from the largest logit and the largest probability. That probability is
 * at least 1/v, so the result is exact enough.
 */
export const sparseCrossEntropy: Kernel = {
  name: 'WhetstoneSparseCrossEntropy',
  inputs: ['logits', 'targets'],
  returnsList: true,
  eager: false,
  rule: ([logits], { stretches }) => {
    const { shape } = logits as TensorSpec;
    const [rows = 0] = shape;
    return {
      outputs: [
        { shape: shape.slice(0, 1), dtype: 'float32' },
        { shape, dtype: 'float32' },
      ],
      host: blockBounds(rows, (stretches as number | undefined) ?? 1),
    };
  },
  tensorflow: (emit, [logits, targets], bounds) => {
    const zero = emit.constant('int32', [], [0]);
    const one = emit.constant('int32', [], [1]);
    const rows = emit.op('Range', [zero, emit.op('Size', [targets!], { out_type: type('int32') }), one], {});
    const targetIndices = emit.op('Pack', [[rows, targets!]], { axis: int(1) });
    const targetLogits = emit.op('GatherNd', [logits!, targetIndices]);
    const { probabilities, largest, largestLogit } =
      bounds.length === 0 ? wholeSoftmax(emit, logits!) : softmaxInPlace(emit, logits!, rows, bounds, targetLogits);
    const loss = emit.op('Sub', [emit.op('Sub', [largestLogit, emit.op('Log', [largest])]), targetLogits]);
    // Written into the probabilities: TensorScatterSub would copy them.
    const minusOne = emit.op('Neg', [emit.op('OnesLike', [loss])]);
    return [loss, emit.op('ScatterNdNonAliasingAdd', [probabilities, targetIndices, minusOne])];
  },
  stablehlo: lowerSparseCrossEntropy,
};
