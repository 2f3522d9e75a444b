import type { BatchSourceDependencies } from '@whetstone/core/contract';
import { collate } from './collate.js';
import { oneSampleARow } from './rows.js';
import type { TokenStore } from './token-store.js';

/** Samples that go through the model together; of like length, so that hardly any of it is padding. */
const MEASURED_AT_ONCE = 8;

/** The mean loss of each sample under the model as it is: what `curriculum: {"by": "loss"}` goes by. */
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
  for (let start = 0; start < samples.length; start += MEASURED_AT_ONCE) {
    const rows = Array.from(
      { length: Math.min(MEASURED_AT_ONCE, samples.length - start) },
      (_, index) => start + index,
    );
    const measured = await measure(collate(rows, table, store, { padTokenId, padToMultipleOf: null }));
    for (const [index, row] of rows.entries()) losses[samples[row] ?? 0] = measured[index] ?? 0;
  }
  return losses;
}
