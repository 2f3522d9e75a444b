import { add, addN, concat, expandDims, matMul, mul, slice, square, sub, sum, tanh, tensor1d, type Scalar, type Tensor2D } from '@tensorflow/tfjs-core';
import { after } from './after.js';
import { constant } from './constant.js';
import { crossEntropyAndGradient } from './cross-entropy.js';
import { customGradient, savedAt } from './custom-gradient.js';

export interface LinearCrossEntropyOptions {
  /** Positions whose logits are in memory at once. */
  readonly chunk: number;
  /** Logits are softCap · tanh(logits ÷ softCap) where it is given. */
  readonly softCap: number | null;
  /** Whether a gradient of the weight is wanted; a frozen head needs none. */
  readonly weightGradient: boolean;
  /** How much each target counts, n numbers; each 1 where absent. */
  readonly targetWeights?: Float32Array;
}

/**
 * Summed cross-entropy in nats, by the targets' weights, of logits = hidden · weightᵀ, without ever holding all logits: each chunk's logits become its loss and at once
 * the gradients of hidden and weight, and are gone (the idea of Hsu et al., Liger Kernel, 2024). Gradients are made in the forward pass, so call it
 * only where they are wanted, inside `tf.tidy`. Differentiable once.
 *
 * @param hidden [n, features] @param weight [v, features] @param targets n token ids, each below v
 */
export function linearCrossEntropy(hidden: Tensor2D, weight: Tensor2D, targets: Int32Array, options: LinearCrossEntropyOptions): Scalar {
  return customGradient<Scalar>(
    options.weightGradient ? [hidden, weight] : [hidden],
    () => {
      const losses: Scalar[] = [];
      const hiddenGradients: Tensor2D[] = [];
      let ofWeight: Tensor2D | null = null;
      for (const chunk of chunksOf(hidden, targets, options)) {
        // Each waits for the one before it, or all of their logits would be made first.
        const before = [...hiddenGradients.slice(-1), ...(ofWeight === null ? [] : [ofWeight])];
        const part = lossOfChunk({ ...chunk, hidden: after(chunk.hidden, before) }, weight, options);
        losses.push(part.loss);
        hiddenGradients.push(part.hiddenGradient);
        if (part.weightGradient !== null) ofWeight = ofWeight === null ? part.weightGradient : add<Tensor2D>(ofWeight, part.weightGradient);
      }
      const ofHidden = hiddenGradients.length === 1 ? (hiddenGradients[0] as Tensor2D) : concat(hiddenGradients, 0);
      return { value: addN(losses) as Scalar, saved: ofWeight === null ? [ofHidden] : [ofHidden, ofWeight] };
    },
    (dy, saved) => saved.map((_, index) => mul(savedAt(saved, index), dy)),
  );
}

interface Chunk {
  readonly hidden: Tensor2D;
  readonly targets: Int32Array;
  readonly targetWeights: Float32Array | undefined;
}

function chunksOf(hidden: Tensor2D, targets: Int32Array, { chunk: size, targetWeights }: LinearCrossEntropyOptions): Chunk[] {
  const [rows, features] = hidden.shape;
  if (rows <= size) return [{ hidden, targets, targetWeights }];
  return Array.from({ length: Math.ceil(rows / size) }, (_, index) => {
    const begin = index * size;
    const end = Math.min(rows, begin + size);
    return { hidden: slice(hidden, [begin, 0], [end - begin, features]), targets: targets.subarray(begin, end), targetWeights: targetWeights?.subarray(begin, end) };
  });
}

interface ChunkLoss {
  readonly loss: Scalar;
  readonly hiddenGradient: Tensor2D;
  readonly weightGradient: Tensor2D | null;
}

function lossOfChunk({ hidden, targets, targetWeights }: Chunk, weight: Tensor2D, { softCap, weightGradient }: LinearCrossEntropyOptions): ChunkLoss {
  const raw: Tensor2D = matMul(hidden, weight, false, true);
  // The derivative of c · tanh(x ÷ c) is 1 − tanh²(x ÷ c).
  const squashed = softCap === null ? null : tanh(mul(raw, constant(1 / softCap)));
  const { loss, gradient } = crossEntropyAndGradient(squashed === null || softCap === null ? raw : mul(squashed, constant(softCap)), targets);
  const rawGradient: Tensor2D = squashed === null ? gradient : mul(gradient, sub(constant(1), square(squashed)));
  if (targetWeights === undefined) return { loss: sum(loss) as Scalar, hiddenGradient: matMul(rawGradient, weight), weightGradient: weightGradient ? matMul(rawGradient, hidden, true, false) : null };
  // The weights scale [n, features], never [n, v]: the gradients are linear in each row.
  const scales = tensor1d(targetWeights, 'float32');
  const rows = expandDims(scales, 1);
  return {
    loss: sum(mul(loss, scales)) as Scalar,
    hiddenGradient: mul(matMul(rawGradient, weight), rows),
    weightGradient: weightGradient ? matMul(rawGradient, mul(hidden, rows) as Tensor2D, true, false) : null,
  };
}
