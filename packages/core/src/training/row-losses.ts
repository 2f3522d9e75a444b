import { tidy } from '@tensorflow/tfjs-core';
import type { Batch, LanguageModel, TensorBackendInfo } from '../contract/index.js';
import { crossEntropy } from '../ops/cross-entropy.js';
import { checkTokens } from './check-tokens.js';
import { supervisedPositions } from './supervised-positions.js';

/**
 * Returns the mean loss in nats of each row of a batch under the current model; 0 for a row without a target.
 *
 * @throws `TOKENIZER_INVALID` if a token or label is outside of the model's vocabulary
 */
export async function rowLosses(
  model: LanguageModel,
  batch: Batch,
  backend: Pick<TensorBackendInfo, 'barrier'>,
): Promise<Float64Array> {
  checkTokens(batch, model);
  const { positions, targets } = supervisedPositions(batch);
  const sums = new Float64Array(batch.rows);
  if (targets.length === 0) return sums;
  const losses = tidy(() => crossEntropy(model.logits(batch, positions), targets));
  backend.barrier();
  const values = await losses.data();
  losses.dispose();
  const counts = new Float64Array(batch.rows);
  for (const [index, position] of positions.entries()) {
    const row = Math.floor(position / batch.length);
    sums[row] = (sums[row] ?? 0) + (values[index] ?? 0);
    counts[row] = (counts[row] ?? 0) + 1;
  }
  return sums.map((sum, row) => sum / Math.max(1, counts[row] ?? 0));
}
