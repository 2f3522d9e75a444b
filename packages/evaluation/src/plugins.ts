import { definePlugin, type MetricOf } from '@whetstone/core/contract';
import type { Accumulator } from './metrics/accumulate.js';
import { createBleu } from './metrics/bleu.js';
import { createChrf, type Pair } from './metrics/chrf.js';
import { createDistinct, createRepetition } from './metrics/diversity.js';
import { createExactMatch } from './metrics/exact-match.js';
import { createRouge, ROUGE_KINDS } from './metrics/rouge.js';

/** Returns a metric that compares replies with their first references. It leaves out numbers that are NaN. */
function ofPairs(
  numbers: readonly string[],
  create: () => Accumulator<Pair, Readonly<Record<string, number>>>,
): MetricOf<'replies'> {
  return {
    needs: 'replies',
    numbers,
    createAccumulator: () => {
      const score = create();
      return {
        add: ({ reply, references: [reference] }) => score.add({ prediction: reply, reference }),
        result: () => Object.fromEntries(Object.entries(score.result()).filter(([, value]) => !Number.isNaN(value))),
      };
    },
  };
}

/** Gives the result of an accumulator a name. */
const named = <Item>(name: string, { add, result }: Accumulator<Item>): Accumulator<Item, Record<string, number>> => ({
  add,
  result: () => ({ [name]: result() }),
});

/** Lets an accumulator of texts receive predictions. */
const ofPredictions = <Result>({ add, result }: Accumulator<string, Result>): Accumulator<Pair, Result> => ({
  add: ({ prediction }) => add(prediction),
  result,
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
  create: (options) => ofPairs(['exactMatch'], () => named('exactMatch', createExactMatch(options))),
});

const distinct = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'distinct-n',
  description: 'The share of distinct n-grams in all replies. Low if the replies are similar.',
  configSchema: { type: 'object', properties: { orders: orders([1, 2]) }, additionalProperties: false } as const,
  create: ({ orders: chosenOrders = [1, 2] }) =>
    ofPairs(
      chosenOrders.map((order) => `distinct${order}`),
      () => {
        const all = chosenOrders.map((order) => named(`distinct${order}`, ofPredictions(createDistinct(order))));
        return {
          add: (pair) => {
            for (const { add } of all) add(pair);
          },
          result: () => Object.assign({}, ...all.map(({ result }) => result())) as Record<string, number>,
        };
      },
    ),
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
    ofPairs([`repetition${order}`], () => named(`repetition${order}`, ofPredictions(createRepetition(order)))),
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
  create: (options) => ofPairs(['chrf'], () => named('chrf', createChrf(options))),
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
  create: (options) => ofPairs(['bleu'], () => named('bleu', createBleu(options))),
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
  create: ({ tokenize = 'words' }) => ofPairs(ROUGE_KINDS, () => createRouge(tokenize)),
});

/** All metrics of this package. */
export const metrics = [exactMatch, distinct, repetition, chrf, bleu, rouge] as const;
