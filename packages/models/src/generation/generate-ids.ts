import { WhetstoneError, type LanguageModel } from '@whetstone/core/contract';
import { beamSearch, type BeamOptions } from './beam-search.js';
import { checkPrompt, Generator, type GeneratorOptions, type Token } from './generator.js';
import type { GenerationOptions } from './options.js';

/** A token that continues a prompt. */
export interface GeneratedToken extends Omit<Token, 'request'> {
  /** Index of the prompt, or of the reply if there are several to each prompt. */
  readonly row: number;
}

export interface IdGenerationOptions extends GenerationOptions, GeneratorOptions, BeamOptions {
  /**
   * The number of replies to each prompt; 1 by default. Row r continues the prompt ⌊r ÷ n⌋. With beam search, these are
   * the best replies.
   */
  readonly n?: number;
}

/** Ends rows of {@link generateIds} early. */
export interface GenerationControl {
  finish(row: number): void;
}

/**
 * Continues prompts token by token, several at once: see {@link Generator}. Yields the tokens of all prompts as they
 * are generated. A row ends at a stop token, which is yielded too, after `maxNewTokens`, or at the end of the model's
 * context. Throws the reason of `signal` if it is aborted. With `beams`, the tokens of a reply come all at once.
 *
 * @throws `CONTEXT_EXCEEDED` if a prompt leaves no room for a token
 * @throws `USAGE` if a prompt is empty or an option is out of range
 */
export async function* generateIds(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  options: IdGenerationOptions = {},
  signal?: AbortSignal,
  control?: (control: GenerationControl) => void,
): AsyncGenerator<GeneratedToken, void, undefined> {
  if ((options.beams ?? 1) > 1) {
    yield* searchReplies(model, prompts, options, signal, control);
    return;
  }
  const { batchSize, cacheBytes, chunkTokens, n = 1 } = options;
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

/** Searches the best replies to one prompt after the other. */
async function* searchReplies(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  options: IdGenerationOptions,
  signal?: AbortSignal,
  control?: (control: GenerationControl) => void,
): AsyncGenerator<GeneratedToken, void, undefined> {
  const { n = 1, beams = 1, stopTokenIds = [] } = options;
  if (n > beams)
    throw new WhetstoneError('USAGE', 'Beam search cannot give more replies to a prompt than it has beams.', {
      expected: `n of at most ${beams}`,
      found: String(n),
    });
  for (const prompt of prompts) checkPrompt(model, prompt);
  const ended = new Set<number>();
  control?.({ finish: (row) => ended.add(row) });
  for (const [index, prompt] of prompts.entries()) {
    const replies = await beamSearch(model, prompt, options, signal);
    for (const [rank, { ids }] of replies.slice(0, n).entries()) {
      const row = index * n + rank;
      for (const [at, id] of ids.entries()) {
        if (ended.has(row)) break;
        const isLast = at === ids.length - 1;
        yield { row, id, finish: !isLast ? null : stopTokenIds.includes(id) ? 'stop' : 'length' };
      }
    }
  }
}
