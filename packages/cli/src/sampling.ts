import type { GenerationOptions } from '@whetstone/models';

/** What the command line says about generation, as commander gives it. */
export interface SamplingOptions {
  readonly maxNewTokens: number;
  readonly minNewTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly repetitionPenalty?: number;
  readonly seed: number;
}

/**
 * Greedy unless something asks for sampling: then the temperature is 1 where none is given, so that nothing asked for
 * is ignored.
 */
export function generationOptions({
  maxNewTokens,
  minNewTokens,
  temperature,
  topK,
  topP,
  repetitionPenalty,
  seed,
}: SamplingOptions): GenerationOptions {
  const sampled = temperature ?? (topK !== undefined || topP !== undefined ? 1 : 0);
  return {
    maxNewTokens,
    seed,
    temperature: sampled,
    ...(minNewTokens === undefined ? {} : { minNewTokens }),
    ...(topK === undefined ? {} : { topK }),
    ...(topP === undefined ? {} : { topP }),
    ...(repetitionPenalty === undefined ? {} : { repetitionPenalty }),
  };
}
