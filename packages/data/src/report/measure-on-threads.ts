import type { DataSource } from '@whetstone/core/contract';
import { passOnThreads, ThreadsStopped, type ThreadOptions } from '../parallel/pass.js';
import { createReportCollector, type ReportCollector } from './report-collector.js';
import type { MeasureOptions, Tokenizing } from './measure.js';

/**
 * Reads and measures large data on worker threads. Returns null if the data is small, cannot be shared between threads,
 * or a thread ends.
 */
export async function measureOnThreads(
  source: DataSource,
  tokenizing: Tokenizing | null,
  measure: MeasureOptions,
  threads: ThreadOptions,
): Promise<ReportCollector | null> {
  const { tokenizer, renderer } = tokenizing ?? {};
  if (tokenizing && (!tokenizer?.recipe || !renderer?.recipe)) return null;
  const collector = createReportCollector(measure, tokenizing !== null);
  const passOutput = {
    kind: 'report',
    tokenizing:
      tokenizer?.recipe && renderer?.recipe ? { tokenizer: tokenizer.recipe, renderer: renderer.recipe } : null,
    measure,
  } as const;
  const expected =
    tokenizer && renderer ? { tokenizerHash: tokenizer.hash ?? null, rendererHash: renderer.hash } : null;
  try {
    const done = await passOnThreads(
      source,
      passOutput,
      expected,
      { ...threads, hint: () => collector.hint() },
      ({ output }) => {
        if (output.kind === 'report') collector.take(output.block);
      },
    );
    return done ? collector : null;
  } catch (error) {
    if (!(error instanceof ThreadsStopped)) throw error;
    threads.onNote?.(`The data is read again on one thread: ${error.message}`);
    return null;
  }
}
