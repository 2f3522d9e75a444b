import type { LeftOutBatches } from '../checkpoint/index.js';
import type { Batch, BatchSource } from '../contract/data.js';

/** The batches of one optimizer step, and their position in the epoch: from `begin` to `end`, without `end`. */
export interface StepBatches extends LeftOutBatches {
  readonly batches: readonly Batch[];
}

/**
 * Yields the batches of an epoch in windows of `size`, one per optimizer step. The last window may be smaller. The
 * first `skip` batches are skipped, and batches that a rollback left out.
 */
export async function* accumulationWindows(
  source: BatchSource,
  epoch: number,
  {
    skip,
    leftOut,
    size,
  }: { readonly skip: number; readonly leftOut: readonly LeftOutBatches[]; readonly size: number },
): AsyncGenerator<StepBatches, void, void> {
  const ranges = leftOut.filter((range) => range.epoch === epoch);
  let position = skip;
  let begin = skip;
  let batches: Batch[] = [];
  for await (const batch of source.epoch(epoch, { skip })) {
    const index = position++;
    if (ranges.some((range) => range.begin <= index && index < range.end)) continue;
    if (batches.length === 0) begin = index;
    batches.push(batch);
    if (batches.length < size) continue;
    yield { epoch, begin, end: position, batches };
    batches = [];
  }
  if (batches.length > 0) yield { epoch, begin, end: position, batches };
}
