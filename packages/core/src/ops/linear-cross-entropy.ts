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
import { addProduct } from './add-product.js';
import { after } from './after.js';
import { constant } from './constant.js';
import { crossEntropyAndGradient } from './cross-entropy.js';
import { customGradient, savedAt } from './custom-gradient.js';

/** Options of {@link linearCrossEntropy}. */
export interface LinearCrossEntropyOptions {
  /** Most positions of a part whose logits are in memory at once. */
  readonly chunk: number;
  /** Logits are softCap · tanh(logits ÷ softCap) where it is given. */
  readonly softCap: number | null;
  /** Whether a gradient of the weight is wanted; a frozen head needs none. */
  readonly weightGradient: boolean;
}

/** Positions that one loss is taken of, beside others. */
export interface LossPart {
  /** [n, features] */
  readonly hidden: Tensor2D;
  /** n token ids, each below the rows of the weight. */
  readonly targets: Int32Array;
  /** How much each target counts, n numbers; each 1 where absent. */
  readonly targetWeights?: Float32Array | undefined;
}

/**
 * Stretches of a chunk's rows whose softmax is taken one after the other, where several parts are computed beside each
 * other, each on a share of the threads: each part's logits are there once then, and a stretch. On all threads
 * stretches are too small.
 */
const STRETCHES = 8;
/** Rows from which on there are stretches, none of them empty. */
const LEAST_ROWS = 64;

/**
 * Summed cross-entropy in nats, by the targets' weights, of logits = hidden · weightᵀ, without ever holding all logits:
 * each chunk's logits become its loss and at once the gradients of hidden and weight, and are gone (the idea of Hsu et
 * al., Liger Kernel, 2024). Gradients are made in the forward pass, so call it only where they are wanted, inside
 * `tf.tidy`. Differentiable once.
 *
 * Several parts are computed beside each other, chunk by chunk each, and share one gradient of the weight: their chunks
 * are added to it by turns.
 *
 * @param weight [v, features]
 */
export function linearCrossEntropy(
  parts: readonly LossPart[],
  weight: Tensor2D,
  options: LinearCrossEntropyOptions,
): Scalar {
  const hidden = parts.map((part) => part.hidden);
  return customGradient<Scalar>(
    options.weightGradient ? [...hidden, weight] : hidden,
    () => {
      const losses: Scalar[] = [];
      const ofHidden = parts.map((): Tensor2D[] => []);
      let sum: Tensor2D | null = null;
      for (const { part, ...chunk } of chunksOf(parts, options.chunk)) {
        // Each waits for the one before it in its part, or all of their logits would be made first.
        const done = ofHidden[part] ?? [];
        const { loss, logitsGradient, scaled, scales } = lossOfChunk(
          { ...chunk, hidden: after(chunk.hidden, done.slice(-1)) },
          weight,
          options,
          parts.length > 1 && chunk.targets.length >= LEAST_ROWS ? STRETCHES : 1,
        );
        losses.push(loss);
        const addTo = (gradient: Tensor2D): Tensor2D[] => {
          if (!options.weightGradient) return [];
          sum = sum === null ? matMul(gradient, scaled, true, false) : addProduct(sum, gradient, scaled);
          return [sum];
        };
        // The way back goes on from the hidden states' gradient, which waits for the weight's: what does not hurry
        // would keep the logits' gradient until nothing else is left to do. Of parts beside each other one multiplies
        // by the weight while the other one adds to its gradient.
        const isSecond = part % 2 === 1;
        const hurried = isSecond ? [] : addTo(logitsGradient);
        const product: Tensor2D = matMul(after(logitsGradient, hurried), weight);
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

interface Chunk extends LossPart {
  /** Number of its part. */
  readonly part: number;
}

/**
 * Positions of each of the chunks that `count` are cut into, at most `most`. Chunks of one size: a short one at the end
 * would cost a matrix product that reads the whole weight for few rows.
 */
export function chunkSize(count: number, most: number): number {
  return Math.ceil(count / Math.max(1, Math.ceil(count / most)));
}

/** The first chunk of each part, then the second of each, and so on. */
function chunksOf(parts: readonly LossPart[], most: number): Chunk[] {
  const chunks = parts.map(({ hidden, targets, targetWeights }, part): Chunk[] => {
    const [rows, features] = hidden.shape;
    if (rows <= most) return [{ part, hidden, targets, targetWeights }];
    const size = chunkSize(rows, most);
    return Array.from({ length: Math.ceil(rows / size) }, (_, index) => {
      const begin = index * size;
      const end = Math.min(rows, begin + size);
      return {
        part,
        hidden: slice(hidden, [begin, 0], [end - begin, features]),
        targets: targets.subarray(begin, end),
        targetWeights: targetWeights?.subarray(begin, end),
      };
    });
  });
  return Array.from({ length: Math.max(...chunks.map(({ length }) => length)) }, (_, index) =>
    chunks.flatMap((ofPart) => ofPart[index] ?? []),
  ).flat();
}

interface ChunkLoss {
  readonly loss: Scalar;
  /** [n, v], without the targets' weights. */
  readonly logitsGradient: Tensor2D;
  /** The targets' weights, [n, 1], and the hidden states by them. */
  readonly scales: Tensor2D | null;
  readonly scaled: Tensor2D;
}

function lossOfChunk(
  { hidden, targets, targetWeights }: LossPart,
  weight: Tensor2D,
  { softCap }: LinearCrossEntropyOptions,
  stretches: number,
): ChunkLoss {
  const raw: Tensor2D = matMul(hidden, weight, false, true);
  // The derivative of c · tanh(x ÷ c) is 1 − tanh²(x ÷ c).
  const squashed = softCap === null ? null : tanh(mul(raw, constant(1 / softCap)));
  const { loss, gradient } = crossEntropyAndGradient(
    squashed === null || softCap === null ? raw : mul(squashed, constant(softCap)),
    targets,
    stretches,
  );
  const logitsGradient: Tensor2D = squashed === null ? gradient : mul(gradient, sub(constant(1), square(squashed)));
  if (targetWeights === undefined) return { loss: sum(loss) as Scalar, logitsGradient, scales: null, scaled: hidden };
  // The weights scale [n, features], never [n, v]: the gradients are linear in each row.
  const ofTargets = tensor1d(targetWeights, 'float32');
  const scales = expandDims<Tensor2D>(ofTargets, 1);
  return { loss: sum(mul(loss, ofTargets)) as Scalar, logitsGradient, scales, scaled: mul(hidden, scales) };
}
