import type { LeftOutBatches } from '../checkpoint/index.js';
import type { Batch, BatchSource, ConsumedBatches } from '../contract/data.js';

/** The batches of one optimizer step, and their position in the epoch: from `begin` to `end`, without `end`. */
export interface StepBatches extends LeftOutBatches {
  readonly batches: readonly Batch[];
}

/**
 * Yields the batches of an epoch in windows of `size`, one per optimizer step. The last window may be smaller. The
 * first `skip` batches are skipped, batches that a rollback left out, and the rows of `consumed`.
 */
export async function* accumulationWindows(
  source: BatchSource,
  epoch: number,
  {
    skip,
    leftOut,
    size,
    consumed = [],
  }: {
    readonly skip: number;
    readonly leftOut: readonly LeftOutBatches[];
    readonly size: number;
    readonly consumed?: readonly ConsumedBatches[];
  },
): AsyncGenerator<StepBatches, void, void> {
  const ranges = leftOut.filter((range) => range.epoch === epoch);
  let position = skip;
  let begin = skip;
  let batches: Batch[] = [];
  for await (const batch of source.epoch(epoch, consumed.length === 0 ? { skip } : { skip, consumed })) {
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
