import type { ChatRenderer, DataSource, Tokenizer } from '@whetstone/core/contract';
import { createTokenCollector, type Tokenized } from '../batching/collect-tokens.js';
import type { BatchOptions } from '../batching/options.js';
import type { ContentIndex } from '../transforms/duplicates/leakage.js';
import { passOnThreads, ThreadsStopped, type ThreadOptions } from './pass.js';

export interface ThreadedInputs extends Omit<ThreadOptions, 'workers'> {
  readonly source: DataSource;
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  readonly index?: ContentIndex;
}

/** Reads, cleans and tokenises large data on worker threads; null where it is small, or cannot be shared among threads. The result is the same. */
export async function tokenizeOnThreads({ source, tokenizer, renderer, index, ...threads }: ThreadedInputs, options: BatchOptions): Promise<Tokenized | null> {
  if (!tokenizer.recipe || !renderer.recipe) return null;
  const collector = createTokenCollector(index ?? null);
  const goal = { kind: 'tokens', tokenizer: tokenizer.recipe, renderer: renderer.recipe, options, indexed: index !== undefined } as const;
  try {
    const done = await passOnThreads(source, goal, { tokenizerHash: tokenizer.hash ?? null, rendererHash: renderer.hash }, { ...threads, workers: options.workers }, ({ output }) => {
      if (output.kind === 'tokens') collector.take(output.block);
    });
    if (!done) return null;
  } catch (error) {
    if (!(error instanceof ThreadsStopped)) throw error;
    index?.clear();
    threads.onNote?.(`The data is read again, on one thread: ${error.message}`);
    return null;
  }
  return collector.result();
}
