import type { ChatRenderer, DataSource, Tokenizer } from '@whetstone/core/contract';
import { createTokenCollector, type Tokenized } from '../batching/collect-tokens.js';
import type { BatchOptions } from '../batching/options.js';
import { createLeakWatch, type HeldOut, type HeldOutFinder } from '../transforms/duplicates/leakage.js';
import { passOnThreads, ThreadsStopped, type ThreadOptions } from './pass.js';

export interface ThreadedInputs extends Omit<ThreadOptions, 'workers'> {
  readonly source: DataSource;
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  /** How many tokens are kept in memory, if not as many as by default. */
  readonly memoryTokens?: number;
  /** Evaluation data to search for in the source. */
  readonly held?: { readonly fingerprints: HeldOut['fingerprints']; readonly finder: HeldOutFinder };
}

/**
 * Reads, cleans and tokenizes large data on worker threads, with the same result as without threads. Returns null if
 * the data is small, cannot be shared between threads, or a thread ends: the caller then tokenizes it on this thread.
 */
export async function tokenizeOnThreads(
  { source, tokenizer, renderer, held, memoryTokens, ...threads }: ThreadedInputs,
  options: BatchOptions,
): Promise<Tokenized | null> {
  if (!tokenizer.recipe || !renderer.recipe) return null;
  const collector = createTokenCollector(held === undefined ? null : createLeakWatch(held.finder), {
    memoryTokens,
    onNote: threads.onNote,
  });
  const passOutput = {
    kind: 'tokens',
    tokenizer: tokenizer.recipe,
    renderer: renderer.recipe,
    options,
    fingerprints: held?.fingerprints ?? null,
  } as const;
  try {
    const done = await passOnThreads(
      source,
      passOutput,
      { tokenizerHash: tokenizer.hash ?? null, rendererHash: renderer.hash },
      { ...threads, workers: options.workers },
      ({ output }) => {
        if (output.kind === 'tokens') collector.take(output.block);
      },
    );
    if (!done) return null;
  } catch (error) {
    if (!(error instanceof ThreadsStopped)) throw error;
    threads.onNote?.(`The data is read again on one thread: ${error.message}`);
    return null;
  }
  return collector.result();
}
