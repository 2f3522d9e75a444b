import { inOrder, type LogitsProcessor } from './logits-processor.js';
import { badWords, minNewTokens, noRepeatNgram, presenceAndFrequencyPenalty, repetitionPenalty } from './penalties.js';
import { minP, temperature, topK, topP, typicalP } from './truncation.js';

/** How text is generated. What is left out changes nothing; with nothing at all the likeliest token is taken each time. */
export interface GenerationOptions {
  /** 256 by default. */
  readonly maxNewTokens?: number;
  readonly minNewTokens?: number;
  /** 0 (the default) takes the likeliest token; above 0 tokens are drawn. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typicalP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly noRepeatNgramSize?: number;
  /** Sequences of ids that are never completed. */
  readonly badWordsIds?: readonly (readonly number[])[];
  /** Ids that end a row. */
  readonly stopTokenIds?: readonly number[];
  /** Texts that end a row and are not part of it; for text generation. */
  readonly stopStrings?: readonly string[];
  /** The same seed draws the same tokens. 0 by default. */
  readonly seed?: number;
  /** Further processors, applied last before a token is chosen. */
  readonly processors?: readonly LogitsProcessor[];
}

/** The processors that the options ask for, in the order of Hugging Face's `generate`. */
export function processorOf(options: GenerationOptions): LogitsProcessor {
  const { presencePenalty = 0, frequencyPenalty = 0, temperature: heat = 0 } = options;
  const draws = heat > 0;
  const maybe = <T>(value: T | undefined, neutral: T, make: (value: T) => LogitsProcessor): readonly LogitsProcessor[] =>
    value === undefined || value === neutral ? [] : [make(value)];
  return inOrder([
    ...maybe(options.repetitionPenalty, 1, repetitionPenalty),
    ...(presencePenalty !== 0 || frequencyPenalty !== 0 ? [presenceAndFrequencyPenalty(presencePenalty, frequencyPenalty)] : []),
    ...maybe(options.noRepeatNgramSize, 0, noRepeatNgram),
    ...(options.badWordsIds === undefined ? [] : [badWords(options.badWordsIds)]),
    ...maybe(options.minNewTokens, 0, (count) => minNewTokens(count, options.stopTokenIds ?? [])),
    ...(draws ? [
      ...maybe(heat, 1, temperature),
      ...maybe(options.topK, 0, topK),
      ...maybe(options.topP, 1, (mass) => topP(mass)),
      ...maybe(options.minP, 0, minP),
      ...maybe(options.typicalP, 1, typicalP),
    ] : []),
    ...(options.processors ?? []),
  ]);
}
