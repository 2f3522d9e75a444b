import type { GenerationOptions } from '@whetstone/models';

/** Generation options as commander parses them. */
export interface SamplingOptions {
  readonly maxNewTokens: number;
  readonly minNewTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typicalP?: number;
  readonly repetitionPenalty?: number;
  readonly forbidNgramRepeats?: number;
  readonly stop?: readonly string[];
  readonly seed: number;
}

/**
 * Greedy by default. If an option that limits the choice of tokens is given without a temperature, the temperature is
 * 1, so that the option has an effect.
 */
export function generationOptions(options: SamplingOptions): GenerationOptions {
  const { maxNewTokens, minNewTokens, topK, topP, minP, typicalP, repetitionPenalty, seed } = options;
  const limits = [topK, topP, minP, typicalP].some((limit) => limit !== undefined);
  return {
    maxNewTokens,
    seed,
    temperature: options.temperature ?? (limits ? 1 : 0),
    minNewTokens,
    topK,
    topP,
    minP,
    typicalP,
    repetitionPenalty,
    noRepeatNgramSize: options.forbidNgramRepeats,
    stopStrings: options.stop,
  };
}
