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
import { shapesAreStatic } from '../ops/recording.js';
import { padToShapeBucket } from './shape-buckets.js';
import type { Microbatch } from './supervised-positions.js';

/** Default number of logits in memory at once: 20 Mi, or 80 MiB as float32. */
export const MAX_LOGITS_PER_CHUNK = 20 * 2 ** 20;

export interface LossOptions {
  /** The trained parameters; null for an evaluation without gradients. */
  readonly trained: ReadonlySet<Tensor> | null;
  /** Number of logits in memory at once. */
  readonly logitsAtOnce?: number;
}

/**
 * Returns the summed cross-entropy of the supervised positions in nats, weighted if there are weights. Call inside
 * `tf.tidy`.
 *
 * Logits are computed in chunks, so that they are never all in memory. In training, the gradient of a chunk is computed
 * with it if the head is a plain matrix; the halves of a batch then share one gradient of that matrix. A head that a
 * strategy wraps keeps its logits for the backward pass.
 */
export function summedCrossEntropy(
  model: LanguageModel,
  microbatches: readonly Microbatch[],
  { trained, logitsAtOnce = MAX_LOGITS_PER_CHUNK }: LossOptions,
): Scalar {
  const rowsPerChunk = Math.max(1, Math.floor(logitsAtOnce / model.vocabularySize));
  const shaped = shapesAreStatic() ? microbatches.map(padToShapeBucket) : microbatches;
  const plain = trained === null ? null : (model.plainHead?.() ?? null);
  if (trained === null || plain === null)
    return addAll(
      shaped.map((each) => crossEntropyOfChunks(model, each, chunkSize(each.positions.length, rowsPerChunk))),
    );
  // A weight that is not a variable may have been computed from trained parameters.
  const weightGradient = trained.has(plain.weight) || !(plain.weight instanceof Variable);
  const groups = shaped.map(({ batch, positions, targets, weights }) => ({
    hidden: model.hiddenStates(batch, positions),
    targets,
    targetWeights: weights,
  }));
  return linearCrossEntropy(groups, plain.weight, { chunk: rowsPerChunk, softCap: plain.softCap, weightGradient });
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

/** Returns Σ weight · loss of the targets, or the sum of the losses without weights. */
export function weightedSum(losses: Tensor1D, weights: Float32Array | undefined): Scalar {
  return sum(weights === undefined ? losses : mul(losses, tensor1d(weights, 'float32')));
}
