import type { GenerationOptions } from '@whetstone/models';

/** Generation options as commander parses them. */
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
 * Greedy by default. If `--top-k` or `--top-p` is given without a temperature, the temperature is 1, so that the
 * option has an effect.
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
    minNewTokens,
    topK,
    topP,
    repetitionPenalty,
  };
}
