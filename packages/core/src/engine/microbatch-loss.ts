import { addN, reshape, slice, sum, tensor1d, type Scalar, type Tensor2D } from '@tensorflow/tfjs-core';
import type { Batch } from '../contract/data.js';
import type { LanguageModel, SupervisedPositions } from '../contract/model.js';
import { crossEntropy } from '../ops/cross-entropy.js';
import { gatherRows } from '../ops/gather-rows.js';

/** Logits that are held at once, by default: 32 Mi numbers, 128 MiB as float32. */
export const LOGITS_AT_ONCE = 2 ** 25;

/**
 * Summed cross-entropy of the supervised positions, in nats. The logits are made chunk by chunk, so that memory is bounded by
 * `logitsAtOnce` numbers (for evaluation; a gradient tape keeps what it needs of every chunk). Call inside `tf.tidy`.
 */
export function summedCrossEntropy(model: LanguageModel, batch: Batch, supervised: SupervisedPositions, logitsAtOnce = LOGITS_AT_ONCE): Scalar {
  const { positions, targets } = supervised;
  const chunk = Math.max(1, Math.floor(logitsAtOnce / model.vocabularySize));
  if (positions.length <= chunk) return sum(crossEntropy(model.logits(batch, positions), targets));
  const hidden = reshape(model.hiddenStates(batch), [batch.rows * batch.length, model.hiddenSize]) as Tensor2D;
  const chosen = gatherRows(hidden, tensor1d(positions, 'int32'));
  const parts: Scalar[] = [];
  for (let begin = 0; begin < positions.length; begin += chunk) {
    const size = Math.min(chunk, positions.length - begin);
    const logits = model.head(slice(chosen, [begin, 0], [size, model.hiddenSize]));
    parts.push(sum(crossEntropy(logits, targets.subarray(begin, begin + size))));
  }
  return addN(parts) as Scalar;
}
