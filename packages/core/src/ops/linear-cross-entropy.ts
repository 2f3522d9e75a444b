import {
  addN,
  concat,
  expandDims,
  matMul,
  mul,
  slice,
  square,
  sub,
  sum,
  tanh,
  tensor1d,
  type Scalar,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { addProduct, after } from './memory.js';
import { constant } from './recording.js';
import { crossEntropyAndGradient } from './cross-entropy.js';
import { customGradient, savedAt } from './custom-gradient.js';

/** Options of {@link linearCrossEntropy}. */
export interface LinearCrossEntropyOptions {
  /** Maximum number of positions per group whose logits are in memory at once. */
  readonly chunk: number;
  /** If given, logits become softCap · tanh(logits ÷ softCap). */
  readonly softCap: number | null;
  /** Whether to compute the gradient of the weight. A frozen head needs none. */
  readonly weightGradient: boolean;
}

/** A group of positions, such as a half of a batch, whose loss is computed in parallel with those of other groups. */
export interface PositionGroup {
  /** [n, features] */
  readonly hidden: Tensor2D;
  /** n token ids, each below the number of rows of the weight. */
  readonly targets: Int32Array;
  /** The weights of the targets, n numbers; 1 by default. */
  readonly targetWeights?: Float32Array | undefined;
}

/**
 * Number of row ranges of a chunk that are computed one after the other. Used if several groups are computed in
 * parallel, each on a share of the threads: memory is then needed for each group's logits and one range. On all
 * threads, the ranges would be too small.
 */
const ROW_RANGES = 8;
/** Minimum number of rows for {@link ROW_RANGES}, so that no range is empty. */
const MIN_ROWS_FOR_RANGES = 64;

/**
 * Returns the summed, weighted cross-entropy in nats of logits = hidden · weightᵀ, without storing all logits. For each
 * chunk, the loss and the gradients of hidden and weight are computed, and its logits are disposed (the idea of Hsu et
 * al., Liger Kernel, 2024). Because gradients are computed in the forward pass, call it only if they are needed, inside
 * `tf.tidy`. Differentiable once.
 *
 * Several groups are computed in parallel, each in chunks. They share one gradient of the weight, to which their chunks
 * are added in turn.
 *
 * @param weight [v, features]
 */
export function linearCrossEntropy(
  groups: readonly PositionGroup[],
  weight: Tensor2D,
  options: LinearCrossEntropyOptions,
): Scalar {
  const hidden = groups.map((group) => group.hidden);
  return customGradient<Scalar>(
    options.weightGradient ? [...hidden, weight] : hidden,
    () => {
      const losses: Scalar[] = [];
      const ofHidden = groups.map((): Tensor2D[] => []);
      let sum: Tensor2D | null = null;
      for (const { group, ...chunk } of chunksOf(groups, options.chunk)) {
        // Each chunk waits for the previous one of its group, so that only one chunk's logits are in memory.
        const done = ofHidden[group] ?? [];
        const { loss, logitsGradient, scaled, scales } = lossOfChunk(
          { ...chunk, hidden: after(chunk.hidden, done.slice(-1)) },
          weight,
          options,
          groups.length > 1 && chunk.targets.length >= MIN_ROWS_FOR_RANGES ? ROW_RANGES : 1,
        );
        losses.push(loss);
        const addTo = (gradient: Tensor2D): Tensor2D[] => {
          if (!options.weightGradient) return [];
          sum = sum === null ? matMul(gradient, scaled, true, false) : addProduct(sum, gradient, scaled);
          return [sum];
        };
        // The backward pass continues with the hidden gradient. Without an order, the weight gradient would be computed
        // last and keep the logits' gradients in memory. Of two parallel groups, one adds to the weight gradient while
        // the other multiplies by the weight.
        const isSecond = group % 2 === 1;
        const weightGradients = isSecond ? [] : addTo(logitsGradient);
        const product: Tensor2D = matMul(after(logitsGradient, weightGradients), weight);
        const hiddenGradient = isSecond ? after(product, addTo(after(logitsGradient, [product]))) : product;
        done.push(scales === null ? hiddenGradient : mul(hiddenGradient, scales));
      }
      const joined = ofHidden.map((gradients) =>
        gradients.length === 1 ? (gradients[0] as Tensor2D) : concat(gradients, 0),
      );
      return { value: addN(losses) as Scalar, saved: sum === null ? joined : [...joined, sum] };
    },
    (dy, saved) => saved.map((_, index) => mul(savedAt(saved, index), dy)),
  );
}

interface Chunk extends PositionGroup {
  /** Index of its group. */
  readonly group: number;
}

/**
 * Returns the size of equal chunks of at most `most` positions into which `count` are split. A short last chunk would
 * cost a matmul that reads the entire weight for few rows.
 */
export function chunkSize(count: number, most: number): number {
  return Math.ceil(count / Math.max(1, Math.ceil(count / most)));
}

/** Returns the first chunk of each group, then the second of each, and so on. */
function chunksOf(groups: readonly PositionGroup[], most: number): Chunk[] {
  const chunks = groups.map(({ hidden, targets, targetWeights }, group): Chunk[] => {
    const [rows, features] = hidden.shape;
    if (rows <= most) return [{ group, hidden, targets, targetWeights }];
    const size = chunkSize(rows, most);
    return Array.from({ length: Math.ceil(rows / size) }, (_, index) => {
      const begin = index * size;
      const end = Math.min(rows, begin + size);
      return {
        group,
        hidden: slice(hidden, [begin, 0], [end - begin, features]),
        targets: targets.subarray(begin, end),
        targetWeights: targetWeights?.subarray(begin, end),
      };
    });
  });
  return Array.from({ length: Math.max(...chunks.map(({ length }) => length)) }, (_, index) =>
    chunks.flatMap((ofGroup) => ofGroup[index] ?? []),
  ).flat();
}

interface ChunkLoss {
  readonly loss: Scalar;
  /** [n, v], without the targets' weights. */
  readonly logitsGradient: Tensor2D;
  /** The targets' weights, [n, 1]. */
  readonly scales: Tensor2D | null;
  /** The hidden states, scaled by the targets' weights. */
  readonly scaled: Tensor2D;
}

function lossOfChunk(
  { hidden, targets, targetWeights }: PositionGroup,
  weight: Tensor2D,
  { softCap }: LinearCrossEntropyOptions,
  rowRanges: number,
): ChunkLoss {
  const raw: Tensor2D = matMul(hidden, weight, false, true);
  // The derivative of c · tanh(x ÷ c) is 1 − tanh²(x ÷ c).
  const capped = softCap === null ? null : tanh(mul(raw, constant(1 / softCap)));
  const { loss, gradient } = crossEntropyAndGradient(
    capped === null || softCap === null ? raw : mul(capped, constant(softCap)),
    targets,
    rowRanges,
  );
  const logitsGradient: Tensor2D = capped === null ? gradient : mul(gradient, sub(constant(1), square(capped)));
  if (targetWeights === undefined) return { loss: sum(loss) as Scalar, logitsGradient, scales: null, scaled: hidden };
  // The weights scale [n, features] instead of [n, v], because the gradients are linear in each row.
  const ofTargets = tensor1d(targetWeights, 'float32');
  const scales = expandDims<Tensor2D>(ofTargets, 1);
  return { loss: sum(mul(loss, ofTargets)) as Scalar, logitsGradient, scales, scaled: mul(hidden, scales) };
}
