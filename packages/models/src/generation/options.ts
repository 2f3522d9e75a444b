import { WhetstoneError, type Problem } from '@whetstone/core/contract';
import { inOrder, type LogitsProcessor } from './logits-processor.js';
import { badWords, minNewTokens, noRepeatNgram, presenceAndFrequencyPenalty, repetitionPenalty } from './penalties.js';
import { minP, temperature, topK, topP, typicalP } from './truncation.js';

/** Options of text generation. An absent option has no effect; without any, the likeliest token is always chosen. */
export interface GenerationOptions {
  /** Maximum number of generated tokens; 256 by default. */
  readonly maxNewTokens?: number;
  readonly minNewTokens?: number;
  /** 0, the default, chooses the likeliest token; tokens are sampled above 0. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typicalP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly noRepeatNgramSize?: number;
  /** Sequences of ids that are never generated. */
  readonly badWordsIds?: readonly (readonly number[])[];
  /** Ids that end a row. */
  readonly stopTokenIds?: readonly number[];
  /** Strings that end a row and are not included in it; only for text generation. */
  readonly stopStrings?: readonly string[];
  /** Seed of sampling; 0 by default. */
  readonly seed?: number;
  /** Additional processors, applied after all others: for example one that allows only tokens of a grammar. */
  readonly processors?: readonly LogitsProcessor[];
  /**
   * If set, each token comes with its log-probability and this many of the likeliest tokens. They are those of the
   * model, before any other option applies.
   */
  readonly logProbabilities?: number;
}

/**
 * Checks the ranges of all options.
 *
 * @throws `USAGE` if options are out of range; lists all of them
 */
export function checkOptions(options: GenerationOptions): void {
  const problems: Problem[] = [];
  const check = (
    name: Exclude<
      keyof GenerationOptions,
      'badWordsIds' | 'stopTokenIds' | 'stopStrings' | 'processors' | 'seed' | 'presencePenalty' | 'frequencyPenalty'
    >,
    expected: string,
    accepts: (value: number) => boolean,
  ): void => {
    const value = options[name];
    if (value !== undefined && !(Number.isFinite(value) && accepts(value)))
      problems.push({ message: `${name} is out of range.`, expected, found: String(value) });
  };
  check('maxNewTokens', 'an integer of at least 0', (value) => Number.isInteger(value) && value >= 0);
  check('minNewTokens', 'an integer of at least 0', (value) => Number.isInteger(value) && value >= 0);
  check('temperature', 'a number of at least 0', (value) => value >= 0);
  check('topK', 'an integer of at least 0', (value) => Number.isInteger(value) && value >= 0);
  check('topP', 'a number above 0, at most 1', (value) => value > 0 && value <= 1);
  check('minP', 'a number from 0 to 1', (value) => value >= 0 && value <= 1);
  check('typicalP', 'a number above 0, at most 1', (value) => value > 0 && value <= 1);
  check('repetitionPenalty', 'a number above 0', (value) => value > 0);
  check('noRepeatNgramSize', 'an integer of at least 0', (value) => Number.isInteger(value) && value >= 0);
  check('logProbabilities', 'an integer of at least 0', (value) => Number.isInteger(value) && value >= 0);
  const [first] = problems;
  if (first !== undefined)
    throw new WhetstoneError(
      'USAGE',
      problems.length === 1 ? first.message : 'Generation options are out of range.',
      problems.length === 1 ? first : { problems },
    );
}

/**
 * Creates the processor for the options, or returns null if no option changes scores. The order is that of Hugging
 * Face's `generate`.
 */
export function processorOf(options: GenerationOptions): LogitsProcessor | null {
  const { presencePenalty = 0, frequencyPenalty = 0, temperature: temperatureValue = 0 } = options;
  const samples = temperatureValue > 0;
  const maybe = <T>(
    value: T | undefined,
    neutral: T,
    make: (value: T) => LogitsProcessor,
  ): readonly LogitsProcessor[] => (value === undefined || value === neutral ? [] : [make(value)]);
  const processors = [
    ...maybe(options.repetitionPenalty, 1, repetitionPenalty),
    ...(presencePenalty !== 0 || frequencyPenalty !== 0
      ? [presenceAndFrequencyPenalty(presencePenalty, frequencyPenalty)]
      : []),
    ...maybe(options.noRepeatNgramSize, 0, noRepeatNgram),
    ...(options.badWordsIds === undefined ? [] : [badWords(options.badWordsIds)]),
    ...maybe(options.minNewTokens, 0, (count) => minNewTokens(count, options.stopTokenIds ?? [])),
    ...(samples
      ? [
          ...maybe(temperatureValue, 1, temperature),
          ...maybe(options.topK, 0, topK),
          ...maybe(options.topP, 1, (mass) => topP(mass)),
          ...maybe(options.minP, 0, minP),
          ...maybe(options.typicalP, 1, typicalP),
        ]
      : []),
    ...(options.processors ?? []),
  ];
  return processors.length === 0 ? null : inOrder(processors);
}
