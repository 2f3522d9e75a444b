import { addN, mul, slice, sum, tensor1d, type Scalar, type Tensor, type Tensor1D, Variable } from '@tensorflow/tfjs-core';
import type { Batch } from '../contract/data.js';
import type { LanguageModel, SupervisedPositions } from '../contract/model.js';
import { crossEntropy } from '../ops/cross-entropy.js';
import { linearCrossEntropy } from '../ops/linear-cross-entropy.js';
import { shapesAreStatic } from '../ops/write-slice.js';
import { onFewShapes } from './few-shapes.js';

/** Logits that are held at once, by default: 20 Mi numbers, 80 MiB as float32. */
export const LOGITS_AT_ONCE = 20 * 2 ** 20;

export interface LossOptions {
  /** What is trained, where gradients are wanted; null for evaluation. */
  readonly trained: ReadonlySet<Tensor> | null;
  readonly logitsAtOnce?: number;
}

/**
 * Summed cross-entropy of the supervised positions, in nats, each by its weight where there are weights. Logits are made chunk by chunk and never all held: under training their gradient is
 * taken at once where the head is a plain matrix; a head that a strategy wraps keeps its logits for the backward pass. Call inside `tf.tidy`.
 */
export function summedCrossEntropy(model: LanguageModel, given: Batch, supervised: SupervisedPositions, options: LossOptions): Scalar {
  const { trained, logitsAtOnce = LOGITS_AT_ONCE } = options;
  const shaped = shapesAreStatic() ? onFewShapes(given, supervised) : { batch: given, supervised };
  const { batch, supervised: { positions, targets, weights } } = shaped;
  const most = Math.max(1, Math.floor(logitsAtOnce / model.vocabularySize));
  // Chunks of one size: a short one at the end would cost a matrix product that reads the whole head for few rows.
  const chunk = Math.ceil(positions.length / Math.max(1, Math.ceil(positions.length / most)));
  const plain = model.plainHead?.() ?? null;
  if (trained !== null && plain !== null) {
    // Whether a weight that is no variable depends on trained parameters is not known here.
    const weightGradient = trained.has(plain.weight) || !(plain.weight instanceof Variable);
    return linearCrossEntropy(model.hiddenStates(batch, positions), plain.weight, targets, { chunk, softCap: plain.softCap, weightGradient, ...(weights === undefined ? {} : { targetWeights: weights }) });
  }
  if (positions.length <= chunk) return weightedSum(crossEntropy(model.logits(batch, positions), targets), weights);
  const chosen = model.hiddenStates(batch, positions);
  const parts: Scalar[] = [];
  for (let begin = 0; begin < positions.length; begin += chunk) {
    const size = Math.min(chunk, positions.length - begin);
    const logits = model.head(slice(chosen, [begin, 0], [size, model.hiddenSize]));
    parts.push(weightedSum(crossEntropy(logits, targets.subarray(begin, begin + size)), weights?.subarray(begin, begin + size)));
  }
  return addN(parts) as Scalar;
}

/** Σ weight · loss of the targets, or the plain sum where each counts 1. */
export function weightedSum(losses: Tensor1D, weights: Float32Array | undefined): Scalar {
  return sum(weights === undefined ? losses : mul(losses, tensor1d(weights, 'float32')));
}
