import { definePlugin } from '@whetstone/core/contract';
import { bleu } from './metrics/bleu.js';
import { chrf } from './metrics/chrf.js';
import { distinct, repetition } from './metrics/diversity.js';
import { exactMatch } from './metrics/exact-match.js';
import { rouge, ROUGE_KINDS } from './metrics/rouge.js';

const orders = (defaults: readonly number[]) =>
  ({
    type: 'array',
    items: { type: 'integer', minimum: 1 },
    minItems: 1,
    default: defaults,
    description: 'Lengths of the n-grams.',
  }) as const;

const exactMatchPlugin = definePlugin({
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
  create: (options) => ({ compute: (pairs) => ({ exactMatch: exactMatch(pairs, options) }) }),
});

const distinctPlugin = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'distinct-n',
  description: 'The share of distinct n-grams in all replies. Low if the replies are similar.',
  configSchema: { type: 'object', properties: { orders: orders([1, 2]) }, additionalProperties: false } as const,
  create: ({ orders: chosenOrders = [1, 2] }) => ({
    compute: (pairs) =>
      Object.fromEntries(
        chosenOrders.map((order) => [
          `distinct${order}`,
          distinct(
            pairs.map(({ prediction }) => prediction),
            order,
          ),
        ]),
      ),
  }),
});

const repetitionPlugin = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'repetition',
  description: 'The share of repeated n-grams within a reply. Close to 1 if the model loops.',
  configSchema: {
    type: 'object',
    properties: { order: { type: 'integer', minimum: 1, default: 4, description: 'Length of the n-grams.' } },
    additionalProperties: false,
  } as const,
  create: ({ order = 4 }) => ({
    compute: (pairs) => ({
      [`repetition${order}`]: repetition(
        pairs.map(({ prediction }) => prediction),
        order,
      ),
    }),
  }),
});

const chrfPlugin = definePlugin({
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
  create: (options) => ({ compute: (pairs) => ({ chrf: chrf(pairs, options) }) }),
});

const bleuPlugin = definePlugin({
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
  create: (options) => ({ compute: (pairs) => ({ bleu: bleu(pairs, options) }) }),
});

const rougePlugin = definePlugin({
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
  create: ({ tokenize = 'words' }) => ({
    compute: (pairs) =>
      Object.fromEntries(
        ROUGE_KINDS.map((kind) => [
          kind,
          pairs.reduce((sum, pair) => sum + rouge(pair, kind, tokenize).f, 0) / pairs.length,
        ]),
      ),
  }),
});

/** All metrics of this package. */
export const metrics = [
  exactMatchPlugin,
  distinctPlugin,
  repetitionPlugin,
  chrfPlugin,
  bleuPlugin,
  rougePlugin,
] as const;
