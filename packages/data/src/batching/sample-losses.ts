import type { BatchSourceDependencies } from '@whetstone/core/contract';
import { collate } from './collate.js';
import { oneSampleARow } from './rows.js';
import type { TokenStore } from './token-store.js';

/** Samples per batch; they have similar lengths, so that there is little padding. */
const BATCH_SIZE = 8;

/** Measures the mean loss of each sample under the current model, for `curriculum: {"by": "loss"}`. */
export async function sampleLosses(
  store: TokenStore,
  padTokenId: number,
  measure: NonNullable<BatchSourceDependencies['rowLosses']>,
): Promise<number[]> {
  const samples = Int32Array.from({ length: store.samples }, (_, sample) => sample).sort(
    (a, b) => store.lengthOf(a) - store.lengthOf(b) || a - b,
  );
  const table = oneSampleARow(samples, (sample) => store.lengthOf(sample));
  const losses: number[] = Array.from({ length: store.samples }, () => 0);
  for (let start = 0; start < samples.length; start += BATCH_SIZE) {
    const rows = Array.from({ length: Math.min(BATCH_SIZE, samples.length - start) }, (_, index) => start + index);
    const measured = await measure(collate(rows, table, store, { padTokenId, padToMultipleOf: null }));
    for (const [index, row] of rows.entries()) losses[samples[row] ?? 0] = measured[index] ?? 0;
  }
  return losses;
}
