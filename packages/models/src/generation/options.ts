import { WhetstoneError, type Problem } from '@whetstone/core/contract';
import { inOrder, type LogitsProcessor } from './logits-processor.js';
import { badWords, minNewTokens, noRepeatNgram, presenceAndFrequencyPenalty, repetitionPenalty } from './penalties.js';
import { minP, temperature, topK, topP, typicalP } from './truncation.js';

/**
 * How text is generated. What is left out changes nothing; with nothing at all the likeliest token is taken each time.
 */
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

/** Throws `USAGE` with every number that is out of its range. */
export function checkOptions(options: GenerationOptions): void {
  const problems: Problem[] = [];
  const check = (
    name: 'maxNewTokens' | 'minNewTokens' | 'temperature' | 'topK' | 'topP' | 'minP' | 'typicalP' | 'repetitionPenalty',
    expected: string,
    accepts: (value: number) => boolean,
  ): void => {
    const value = options[name];
    if (value !== undefined && !(Number.isFinite(value) && accepts(value)))
      problems.push({ message: `${name} is out of its range.`, expected, found: String(value) });
  };
  check('maxNewTokens', 'a whole number, not below 0', (value) => Number.isInteger(value) && value >= 0);
  check('minNewTokens', 'a whole number, not below 0', (value) => Number.isInteger(value) && value >= 0);
  check('temperature', 'a number not below 0', (value) => value >= 0);
  check('topK', 'a whole number, not below 0', (value) => Number.isInteger(value) && value >= 0);
  check('topP', 'a number above 0, at most 1', (value) => value > 0 && value <= 1);
  check('minP', 'a number from 0 to 1', (value) => value >= 0 && value <= 1);
  check('typicalP', 'a number above 0, at most 1', (value) => value > 0 && value <= 1);
  check('repetitionPenalty', 'a number above 0', (value) => value > 0);
  const [first] = problems;
  if (first !== undefined)
    throw new WhetstoneError(
      'USAGE',
      problems.length === 1 ? first.message : 'Options of the generation are out of their range.',
      problems.length === 1 ? first : { problems },
    );
}

/** The processors that the options ask for, in the order of Hugging Face's `generate`. */
export function processorOf(options: GenerationOptions): LogitsProcessor {
  const { presencePenalty = 0, frequencyPenalty = 0, temperature: heat = 0 } = options;
  const draws = heat > 0;
  const maybe = <T>(
    value: T | undefined,
    neutral: T,
    make: (value: T) => LogitsProcessor,
  ): readonly LogitsProcessor[] => (value === undefined || value === neutral ? [] : [make(value)]);
  return inOrder([
    ...maybe(options.repetitionPenalty, 1, repetitionPenalty),
    ...(presencePenalty !== 0 || frequencyPenalty !== 0
      ? [presenceAndFrequencyPenalty(presencePenalty, frequencyPenalty)]
      : []),
    ...maybe(options.noRepeatNgramSize, 0, noRepeatNgram),
    ...(options.badWordsIds === undefined ? [] : [badWords(options.badWordsIds)]),
    ...maybe(options.minNewTokens, 0, (count) => minNewTokens(count, options.stopTokenIds ?? [])),
    ...(draws
      ? [
          ...maybe(heat, 1, temperature),
          ...maybe(options.topK, 0, topK),
          ...maybe(options.topP, 1, (mass) => topP(mass)),
          ...maybe(options.minP, 0, minP),
          ...maybe(options.typicalP, 1, typicalP),
        ]
      : []),
    ...(options.processors ?? []),
  ]);
}
