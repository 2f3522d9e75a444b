import {
  addN,
  mul,
  slice,
  sum,
  tensor1d,
  type Scalar,
  type Tensor,
  type Tensor1D,
  Variable,
} from '@tensorflow/tfjs-core';
import type { LanguageModel } from '../contract/model.js';
import { crossEntropy } from '../ops/cross-entropy.js';
import { chunkSize, linearCrossEntropy } from '../ops/linear-cross-entropy.js';
import { shapesAreStatic } from '../ops/write-slice.js';
import { padToShapeBucket } from './shape-buckets.js';
import type { Microbatch } from './supervised-positions.js';

/** Logits that are held at once, by default: 20 Mi numbers, 80 MiB as float32. */
const MAX_LOGITS_PER_CHUNK = 20 * 2 ** 20;

export interface LossOptions {
  /** What is trained, where gradients are wanted; null for evaluation. */
  readonly trained: ReadonlySet<Tensor> | null;
  readonly logitsAtOnce?: number;
}

/**
 * Summed cross-entropy of the supervised positions, in nats, each by its weight where there are weights. Logits are
 * made chunk by chunk and never all held: under training their gradient is taken at once where the head is a plain
 * matrix, which then has one gradient for all parts of a batch; a head that a strategy wraps keeps its logits for the
 * backward pass. Call inside `tf.tidy`.
 */
export function summedCrossEntropy(
  model: LanguageModel,
  parts: readonly Microbatch[],
  { trained, logitsAtOnce = MAX_LOGITS_PER_CHUNK }: LossOptions,
): Scalar {
  const most = Math.max(1, Math.floor(logitsAtOnce / model.vocabularySize));
  const shaped = shapesAreStatic() ? parts.map(padToShapeBucket) : parts;
  const plain = trained === null ? null : (model.plainHead?.() ?? null);
  if (trained === null || plain === null)
    return addAll(shaped.map((part) => crossEntropyOfChunks(model, part, chunkSize(part.positions.length, most))));
  // Whether a weight that is no variable depends on trained parameters is not known here.
  const weightGradient = trained.has(plain.weight) || !(plain.weight instanceof Variable);
  const lossParts = shaped.map(({ batch, positions, targets, weights }) => ({
    hidden: model.hiddenStates(batch, positions),
    targets,
    targetWeights: weights,
  }));
  return linearCrossEntropy(lossParts, plain.weight, { chunk: most, softCap: plain.softCap, weightGradient });
}

function crossEntropyOfChunks(
  model: LanguageModel,
  { batch, positions, targets, weights }: Microbatch,
  chunk: number,
): Scalar {
  if (positions.length <= chunk) return weightedSum(crossEntropy(model.logits(batch, positions), targets), weights);
  const chosen = model.hiddenStates(batch, positions);
  const losses: Scalar[] = [];
  for (let begin = 0; begin < positions.length; begin += chunk) {
    const size = Math.min(chunk, positions.length - begin);
    const logits = model.head(slice(chosen, [begin, 0], [size, model.hiddenSize]));
    losses.push(
      weightedSum(crossEntropy(logits, targets.subarray(begin, begin + size)), weights?.subarray(begin, begin + size)),
    );
  }
  return addAll(losses);
}

const addAll = (losses: readonly Scalar[]): Scalar =>
  losses.length === 1 ? (losses[0] as Scalar) : (addN([...losses]) as Scalar);

/** Σ weight · loss of the targets, or the plain sum where each counts 1. */
export function weightedSum(losses: Tensor1D, weights: Float32Array | undefined): Scalar {
  return sum(weights === undefined ? losses : mul(losses, tensor1d(weights, 'float32')));
}
