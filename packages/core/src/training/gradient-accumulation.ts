import type { Batch, BatchSource } from '../contract/data.js';

/**
 * The batches of an epoch in windows of `size`, one an optimizer step; the last may be smaller. `skip` batches were
 * consumed before.
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
