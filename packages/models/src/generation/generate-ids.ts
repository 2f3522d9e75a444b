import type { LanguageModel } from '@whetstone/core/contract';
import { Generator, type GeneratorOptions, type Token } from './generator.js';
import type { GenerationOptions } from './options.js';

/** A token that continues a prompt. */
export interface GeneratedToken extends Omit<Token, 'request'> {
  /** Index of the prompt, or of the reply if there are several to each prompt. */
  readonly row: number;
}

export interface IdGenerationOptions extends GenerationOptions, GeneratorOptions {
  /** The number of replies to each prompt; 1 by default. Row r continues the prompt ⌊r ÷ n⌋. */
  readonly n?: number;
}

/** Ends rows of {@link generateIds} early. */
export interface GenerationControl {
  finish(row: number): void;
}

/**
 * Continues prompts token by token, several at once: see {@link Generator}. Yields the tokens of all prompts as they
 * are generated. A row ends at a stop token, which is yielded too, after `maxNewTokens`, or at the end of the model's
 * context. Throws the reason of `signal` if it is aborted.
 *
 * @throws `CONTEXT_EXCEEDED` if a prompt leaves no room for a token
 * @throws `USAGE` if a prompt is empty or an option is out of range
 */
export async function* generateIds(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  { batchSize, cacheBytes, chunkTokens, n = 1, ...options }: IdGenerationOptions = {},
  signal?: AbortSignal,
  control?: (control: GenerationControl) => void,
): AsyncGenerator<GeneratedToken, void, undefined> {
  const generator = new Generator(model, { batchSize, cacheBytes, chunkTokens });
  // The requests have the numbers of their rows.
  const rows = prompts.flatMap((prompt) => Array.from({ length: n }, () => prompt));
  for (const [stream, prompt] of rows.entries()) generator.add({ prompt, options, stream });
  control?.({ finish: (row) => generator.cancel(row) });
  try {
    while (generator.busy) {
      signal?.throwIfAborted();
      const tokens = await generator.step();
      signal?.throwIfAborted();
      for (const { request, ...token } of tokens) yield { row: request, ...token };
    }
  } finally {
    generator.dispose();
  }
}
