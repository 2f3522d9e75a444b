import { definePlugin } from '@whetstone/core/contract';
import { bleu } from './metrics/bleu.js';
import { chrf } from './metrics/chrf.js';
import { distinct, repetition } from './metrics/diversity.js';
import { exactMatch } from './metrics/exact-match.js';
import { rouge, ROUGE_KINDS } from './metrics/rouge.js';

const orders = (byDefault: readonly number[]) =>
  ({ type: 'array', items: { type: 'integer', minimum: 1 }, minItems: 1, default: byDefault }) as const;

const exactMatchPlugin = definePlugin({
  apiVersion: 1,
  kind: 'metric',
  name: 'exact-match',
  description: 'The share of replies that are the reference, white space aside.',
  configSchema: {
    type: 'object',
    properties: {
      ignoreCase: { type: 'boolean', default: false },
      ignorePunctuation: { type: 'boolean', default: false },
    },
    additionalProperties: false,
  } as const,
  create: (options) => ({ compute: (pairs) => ({ exactMatch: exactMatch(pairs, options) }) }),
});

const distinctPlugin = definePlugin({
  apiVersion: 1,
  kind: 'metric',
  name: 'distinct-n',
  description: 'Different n-grams among all replies: low where a model always says the same.',
  configSchema: { type: 'object', properties: { orders: orders([1, 2]) }, additionalProperties: false } as const,
  create: ({ orders: wanted = [1, 2] }) => ({
    compute: (pairs) =>
      Object.fromEntries(
        wanted.map((order) => [
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
  apiVersion: 1,
  kind: 'metric',
  name: 'repetition',
  description: "The share of a reply's n-grams that were there before in it: near 1 where a model loops.",
  configSchema: {
    type: 'object',
    properties: { order: { type: 'integer', minimum: 1, default: 4 } },
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
  apiVersion: 1,
  kind: 'metric',
  name: 'chrf',
  description: 'Character n-gram F-score against the reference, 0 to 100, of any language.',
  configSchema: {
    type: 'object',
    properties: {
      wordOrder: {
        type: 'integer',
        minimum: 0,
        maximum: 4,
        default: 0,
        description: '2 for chrF++: runs of words count as well.',
      },
    },
    additionalProperties: false,
  } as const,
  create: (options) => ({ compute: (pairs) => ({ chrf: chrf(pairs, options) }) }),
});

const bleuPlugin = definePlugin({
  apiVersion: 1,
  kind: 'metric',
  name: 'bleu',
  description: 'BLEU of all replies together, 0 to 100, as sacrebleu gives it.',
  configSchema: {
    type: 'object',
    properties: {
      tokenize: {
        enum: ['13a', 'zh', 'char', 'none'],
        default: '13a',
        description: 'zh for Chinese, char for other languages without spaces.',
      },
    },
    additionalProperties: false,
  } as const,
  create: (options) => ({ compute: (pairs) => ({ bleu: bleu(pairs, options) }) }),
});

const rougePlugin = definePlugin({
  apiVersion: 1,
  kind: 'metric',
  name: 'rouge',
  description:
    'ROUGE-1, -2, -L and -Lsum: the mean F of the replies, 0 to 1, as rouge-score gives it without a stemmer.',
  configSchema: {
    type: 'object',
    properties: {
      tokenize: {
        enum: ['words', 'characters'],
        default: 'words',
        description: 'characters for Chinese and others without spaces, of which words finds none.',
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

/** Every metric of this package. */
export const metrics = [
  exactMatchPlugin,
  distinctPlugin,
  repetitionPlugin,
  chrfPlugin,
  bleuPlugin,
  rougePlugin,
] as const;
