import type { DataSource } from '@whetstone/core/contract';
import { rowOf } from '../versions/row-of.js';
import { passOnThreads, type ThreadOptions } from './pass.js';

/**
 * Passes the conversations of a source to `write` as JSON Lines, in their order. Large sources are read and cleaned on
 * worker threads.
 *
 * @throws `ThreadsStopped` if a worker thread ends during the pass, as lines that were written cannot be taken back
 */
export async function cleanRows(
  source: DataSource,
  write: (lines: string | Uint8Array) => void,
  threads: ThreadOptions,
): Promise<void> {
  const done = await passOnThreads(source, { kind: 'lines' }, null, threads, ({ output }) => {
    if (output.kind === 'lines') write(output.bytes);
  });
  if (done) return;
  for await (const conversation of source.conversations()) write(rowOf(conversation));
}
