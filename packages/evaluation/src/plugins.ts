import {
  definePlugin,
  type MetricNeeds,
  type MetricOf,
  type MetricSamples,
  type ReplySample,
} from '@whetstone/core/contract';
import { addTo, type Accumulator, type Additive } from './metrics/accumulate.js';
import { additiveBleu } from './metrics/bleu.js';
import { additiveChrf, type Pair } from './metrics/chrf.js';
import { additiveRepetition, createDistinct } from './metrics/diversity.js';
import { additiveExactMatch } from './metrics/exact-match.js';
import { additiveRouge, ROUGE_KINDS } from './metrics/rouge.js';

type Numbers = Readonly<Record<string, number>>;

const withoutNaN = (numbers: Numbers): Numbers =>
  Object.fromEntries(Object.entries(numbers).filter(([, value]) => !Number.isNaN(value)));

/** Returns a metric whose numbers depend only on sums over the samples. It leaves out numbers that are NaN. */
function ofSums<N extends MetricNeeds>(
  needs: N,
  numbers: readonly string[],
  { statistics, score }: Additive<MetricSamples[N], Numbers>,
): MetricOf<N> {
  const additive = { statistics, numbers: (sums: readonly number[]) => withoutNaN(score(sums)) };
  return {
    needs,
    numbers,
    additive,
    createAccumulator: () => {
      const sums: number[] = [];
      return { add: (sample) => addTo(sums, statistics(sample)), result: () => additive.numbers(sums) };
    },
  };
}

/** Returns a metric that compares replies with their first references. */
const ofPairs = (numbers: readonly string[], { statistics, score }: Additive<Pair, Numbers>): MetricOf<'replies'> =>
  ofSums('replies', numbers, {
    statistics: ({ reply, references: [reference] }) => statistics({ prediction: reply, reference }),
    score,
  });

/** Gives an additive score a name. */
const named = <Item>(name: string, { statistics, score }: Additive<Item>): Additive<Item, Numbers> => ({
  statistics,
  score: (sums) => ({ [name]: score(sums) }),
});

/** Returns a metric of the replies that an accumulator computes, for each name. It leaves out numbers that are NaN. */
const ofReplies = (accumulators: Readonly<Record<string, () => Accumulator<string>>>): MetricOf<'replies'> => ({
  needs: 'replies',
  numbers: Object.keys(accumulators),
  createAccumulator: () => {
    const all = Object.entries(accumulators).map(([name, create]) => [name, create()] as const);
    return {
      add: ({ reply }) => {
        for (const [, { add }] of all) add(reply);
      },
      result: () => withoutNaN(Object.fromEntries(all.map(([name, { result }]) => [name, result()]))),
    };
  },
});

/** Lets an additive score of texts receive the replies. */
const ofReply = ({ statistics, score }: Additive<string>): Additive<ReplySample> => ({
  statistics: ({ reply }) => statistics(reply),
  score,
});

const orders = (defaults: readonly number[]) =>
  ({
    type: 'array',
    items: { type: 'integer', minimum: 1 },
    minItems: 1,
    default: defaults,
    description: 'Lengths of the n-grams.',
  }) as const;

const exactMatch = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'exact-match',
  description: 'The share of replies that equal the reference, except for white space.',
  configSchema: {
    type: 'object',
    properties: {
      ignoreCase: { type: 'boolean', default: false, description: 'Ignore upper and lower case.' },
      ignorePunctuation: { type: 'boolean', default: false, description: 'Ignore punctuation.' },
    },
    additionalProperties: false,
  } as const,
  create: (options) => ofPairs(['exactMatch'], named('exactMatch', additiveExactMatch(options))),
});

const distinct = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'distinct-n',
  description: 'The share of distinct n-grams in all replies. Low if the replies are similar.',
  configSchema: { type: 'object', properties: { orders: orders([1, 2]) }, additionalProperties: false } as const,
  create: ({ orders: chosenOrders = [1, 2] }) =>
    ofReplies(Object.fromEntries(chosenOrders.map((order) => [`distinct${order}`, () => createDistinct(order)]))),
});

const repetition = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'repetition',
  description: 'The share of repeated n-grams within a reply. Close to 1 if the model loops.',
  configSchema: {
    type: 'object',
    properties: { order: { type: 'integer', minimum: 1, default: 4, description: 'Length of the n-grams.' } },
    additionalProperties: false,
  } as const,
  create: ({ order = 4 }) =>
    ofSums('replies', [`repetition${order}`], named(`repetition${order}`, ofReply(additiveRepetition(order)))),
});

const chrf = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'chrf',
  description: 'chrF: the F-score of character n-grams against the reference, 0 to 100, for any language.',
  configSchema: {
    type: 'object',
    properties: {
      wordOrder: {
        type: 'integer',
        minimum: 0,
        maximum: 4,
        default: 0,
        description: 'Maximum length of word n-grams, which are counted, too; 2 for chrF++.',
      },
    },
    additionalProperties: false,
  } as const,
  create: (options) => ofPairs(['chrf'], named('chrf', additiveChrf(options))),
});

const bleu = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'bleu',
  description: 'BLEU of all replies together, 0 to 100, equal to that of sacrebleu.',
  configSchema: {
    type: 'object',
    properties: {
      tokenize: {
        enum: ['13a', 'zh', 'char', 'none'],
        default: '13a',
        description: 'The tokenizer of sacrebleu: zh for Chinese, char for other languages without spaces.',
      },
    },
    additionalProperties: false,
  } as const,
  create: (options) => ofPairs(['bleu'], named('bleu', additiveBleu(options))),
});

const rouge = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'rouge',
  description:
    'ROUGE-1, -2, -L and -Lsum: the mean F-score of the replies, 0 to 1, equal to that of rouge-score without ' +
    'a stemmer.',
  configSchema: {
    type: 'object',
    properties: {
      tokenize: {
        enum: ['words', 'characters'],
        default: 'words',
        description: 'characters for Chinese and other languages without spaces, in which words finds no tokens.',
      },
    },
    additionalProperties: false,
  } as const,
  create: ({ tokenize = 'words' }) => ofPairs(ROUGE_KINDS, additiveRouge(tokenize)),
});

/** All metrics of this package. */
export const metrics = [exactMatch, distinct, repetition, chrf, bleu, rouge] as const;
