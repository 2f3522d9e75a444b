import { setImmediate } from 'node:timers/promises';
import { tidy } from '@tensorflow/tfjs-core';
import type { BatchSource, Clock, EvaluationReport, LanguageModel, TensorBackendInfo } from '../contract/index.js';
import { WhetstoneError } from '../contract/errors.js';
import { summedCrossEntropy } from './microbatch-loss.js';
import { supervisedPositions, totalWeight } from './supervised-positions.js';

export interface EvaluationParts {
  readonly model: LanguageModel;
  readonly data: BatchSource;
  readonly backend: Pick<TensorBackendInfo, 'barrier'>;
  readonly clock: Clock;
  /** Aborted: evaluation ends after the batch at work and gives null. */
  readonly signal?: AbortSignal;
}

/**
 * Token-weighted mean loss over the whole evaluation set: every target counts once, however the batches fall. One batch's logits at
 * most are in memory, chunk by chunk; only sums leave the device.
 *
 * @throws `DATA_NOTHING_TO_LEARN` where the whole set has no target.
 */
export async function evaluate({ model, data, backend, clock, signal }: EvaluationParts, at: { readonly step: number; readonly epoch: number }): Promise<EvaluationReport | null> {
  const started = clock.now();
  let lossSum = 0;
  let supervisedTokens = 0;
  let divisor = 0;
  let samples = 0;
  for await (const batch of data.epoch(0)) {
    samples += batch.samples;
    const supervised = supervisedPositions(batch);
    if (supervised.targets.length === 0) continue;
    const sum = tidy(() => summedCrossEntropy(model, batch, supervised, { trained: null }));
    backend.barrier();
    lossSum += (await sum.data())[0] ?? NaN;
    sum.dispose();
    supervisedTokens += supervised.targets.length;
    divisor += totalWeight(supervised);
    // Timers and signals are served between batches.
    await setImmediate();
    if (signal?.aborted === true) return null;
  }
  if (supervisedTokens === 0) {
    throw new WhetstoneError('DATA_NOTHING_TO_LEARN', 'The evaluation data has no supervised token.', { expected: 'at least one assistant token within data.maxLength' });
  }
  const loss = lossSum / divisor;
  return { ...at, loss, perplexity: Math.exp(loss), supervisedTokens, samples, seconds: clock.now() - started, metrics: {} };
}
