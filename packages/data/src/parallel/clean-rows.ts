import type { DataSource } from '@whetstone/core/contract';
import { rowOf } from '../versions/row-of.js';
import { passOnThreads, type ThreadOptions } from './pass.js';

/**
 * The conversations of a source as JSON Lines, in their order, given to `write` part by part; large sources are read
 * and cleaned on worker threads. A thread that ends on the way is an error: what was written cannot be taken back.
 */
export async function cleanRows(
  source: DataSource,
  write: (part: string | Uint8Array) => void,
  threads: ThreadOptions,
): Promise<void> {
  const done = await passOnThreads(source, { kind: 'lines' }, null, threads, ({ output }) => {
    if (output.kind === 'lines') write(output.bytes);
  });
  if (done) return;
  for await (const conversation of source.conversations()) write(rowOf(conversation));
}
