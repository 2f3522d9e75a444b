import { setImmediate } from 'node:timers/promises';
import { tidy } from '@tensorflow/tfjs-core';
import type { BatchSource, Clock, EvaluationReport, LanguageModel, TensorBackendInfo } from '../contract/index.js';
import { WhetstoneError } from '../contract/errors.js';
import { checkTokens } from './check-tokens.js';
import { MAX_LOGITS_PER_CHUNK, summedCrossEntropy } from './cross-entropy-sum.js';
import { logProbabilitiesOf } from './reference-likelihoods.js';
import { microbatchOf, totalWeight, type Microbatch } from './supervised-positions.js';
import { singleWorker } from '../distributed/workers.js';
import { systemClock } from './system-clock.js';
import type { Workers } from '../contract/workers.js';

export interface EvaluationServices {
  readonly model: LanguageModel;
  readonly data: BatchSource;
  readonly backend: Pick<TensorBackendInfo, 'barrier'>;
  /** Measures the duration. By default, the system's clock. */
  readonly clock?: Clock;
  /** If aborted, the evaluation ends after the current batch and returns null. */
  readonly signal?: AbortSignal;
  /**
   * Receives the losses of each batch by row. Then the loss of each target is read from the device, and not only sums.
   * Called for the batches of this worker.
   */
  readonly onRows?: (rows: readonly RowLoss[]) => void;
  /** The workers that evaluate together, each a share of the batches. By default, a single one. */
  readonly workers?: Workers;
}

/** The loss of one row of a batch. */
interface RowLoss {
  /** The weighted sum of the losses of its targets, in nats. */
  readonly sum: number;
  /** The sum of the weights of its targets: their number if they have no weights. */
  readonly weight: number;
}

/** Returns the loss of each row of a batch that has targets. */
async function lossesByRow(
  model: LanguageModel,
  microbatch: Microbatch,
  backend: Pick<TensorBackendInfo, 'barrier'>,
): Promise<readonly RowLoss[]> {
  const { batch, positions, weights } = microbatch;
  const values = await logProbabilitiesOf(model, microbatch, MAX_LOGITS_PER_CHUNK, backend);
  const rows = Array.from({ length: batch.rows }, () => ({ sum: 0, weight: 0 }));
  for (const [index, position] of positions.entries()) {
    const row = rows[Math.floor(position / batch.length)];
    if (row === undefined) continue;
    const weight = weights?.[index] ?? 1;
    row.sum -= weight * (values[index] ?? NaN);
    row.weight += weight;
  }
  return rows.filter(({ weight }) => weight > 0);
}

/**
 * Returns the token-weighted mean loss over the evaluation data. Every target counts once, independent of the batching.
 * Logits are computed in chunks of one batch, and only sums are read from the device.
 *
 * @throws `DATA_NOTHING_TO_LEARN` if the data has no target
 * @throws `TOKENIZER_INVALID` if a token or label is outside of the model's vocabulary
 */
export async function evaluate(
  { model, data, backend, clock = systemClock, signal, onRows, workers = singleWorker }: EvaluationServices,
  at: { readonly step: number; readonly epoch: number },
): Promise<EvaluationReport | null> {
  const started = clock.now();
  let lossSum = 0;
  let supervisedTokens = 0;
  let divisor = 0;
  let samples = 0;
  let number = 0;
  let aborted = false;
  for await (const batch of data.epoch(0)) {
    if (number++ % workers.count !== workers.rank) continue;
    samples += batch.samples;
    checkTokens(batch, model);
    const microbatch = microbatchOf(batch);
    if (microbatch.targets.length === 0) continue;
    if (onRows === undefined) {
      const sum = tidy(() => summedCrossEntropy(model, [microbatch], { trained: null }));
      backend.barrier();
      lossSum += (await sum.data())[0] ?? NaN;
      sum.dispose();
    } else {
      const rows = await lossesByRow(model, microbatch, backend);
      onRows(rows);
      for (const row of rows) lossSum += row.sum;
    }
    supervisedTokens += microbatch.targets.length;
    divisor += totalWeight(microbatch);
    // Lets timers and signals run between batches.
    await setImmediate();
    aborted = signal?.aborted === true;
    if (aborted) break;
  }
  const shares = await workers.gather(`the evaluation at step ${at.step}`, {
    lossSum: String(lossSum),
    divisor,
    supervisedTokens,
    samples,
    seconds: clock.now() - started,
    aborted,
  });
  if (shares.some((share) => share.aborted)) return null;
  const sum = (of: (share: (typeof shares)[number]) => number): number =>
    shares.reduce((result, share) => result + of(share), 0);
  supervisedTokens = sum((share) => share.supervisedTokens);
  if (supervisedTokens === 0) {
    throw new WhetstoneError('DATA_NOTHING_TO_LEARN', 'The evaluation data has no supervised token.', {
      expected: 'at least one assistant token within data.maxLength',
    });
  }
  const loss = sum((share) => Number(share.lossSum)) / sum((share) => share.divisor);
  return {
    ...at,
    loss,
    perplexity: Math.exp(loss),
    supervisedTokens,
    samples: sum((share) => share.samples),
    seconds: Math.max(...shares.map((share) => share.seconds)),
    metrics: {},
  };
}
