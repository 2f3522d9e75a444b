import type { Batch, BatchSource } from '../contract/data.js';

/**
 * Yields the batches of an epoch in windows of `size`, one per optimizer step. The last window may be smaller. The
 * first `skip` batches are skipped.
 */
export async function* accumulationWindows(
  source: BatchSource,
  epoch: number,
  skip: number,
  size: number,
): AsyncGenerator<readonly Batch[], void, void> {
  let window: Batch[] = [];
  for await (const batch of source.epoch(epoch, { skip })) {
    window.push(batch);
    if (window.length < size) continue;
    yield window;
    window = [];
  }
  if (window.length > 0) yield window;
}
