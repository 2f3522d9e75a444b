import { beforeAll, describe, expect, it } from 'vitest';
import { builtInPlugins } from '../../packages/cli/src/built-ins.js';
import type { Plugin } from '@whetstone/core/contract';
import { describeMetric, type DescribeMetricOptions } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';

beforeAll(() => useBackend('cpu'));

/** The options with which each built-in metric is tested. A missing one fails below. */
const settings: Readonly<Record<string, DescribeMetricOptions>> = {
  'exact-match': {
    options: { 'by default': {}, 'without case and punctuation': { ignoreCase: true, ignorePunctuation: true } },
    badOptions: { 'an unknown key': { ignoreSpaces: true } },
  },
  'distinct-n': {
    options: { 'by default': {}, trigrams: { orders: [3] } },
    badOptions: { 'no n-gram': { orders: [0] }, 'no orders': { orders: [] } },
  },
  'answer-accuracy': {
    options: { 'by default': {}, numbers: { kind: 'number', tolerance: 0.01 } },
    badOptions: { 'an unknown kind': { kind: 'letter' } },
  },
  classification: {
    options: {
      'of two classes': { labels: ['early', 'late'] },
      'with all numbers': { labels: ['early', 'late'], confusion: true },
    },
    badOptions: { 'no labels': {}, 'one label': { labels: ['yes'] } },
  },
  'token-f1': { options: { 'by default': {} }, badOptions: { 'an unknown key': { order: 1 } } },
  ter: {
    options: { 'by default': {}, characters: { tokenize: 'characters' } },
    badOptions: { 'an unknown tokenizer': { tokenize: '13a' } },
  },
  length: { options: { 'by default': {} }, badOptions: { 'no length': { short: 0 } } },
  'self-bleu': {
    options: { 'by default': {}, 'of few replies': { most: 3 } },
    badOptions: { 'one reply': { most: 1 } },
    keepsTexts: true,
    ordered: true,
  },
  'token-likelihood': {
    options: { 'by default': {}, 'with a reliability table': { bins: 4, reliability: true } },
    badOptions: { 'one bin': { bins: 1 } },
  },
  'multiple-choice': { options: { 'by default': {} }, badOptions: { 'an unknown key': { normalize: true } } },
  regex: {
    options: { 'by default': { pattern: 'one' }, 'without case': { pattern: '^no', flags: 'i' } },
    badOptions: { 'an invalid pattern': { pattern: '(' }, 'a flag with a state': { pattern: 'a', flags: 'g' } },
  },
  'json-schema': {
    options: { 'by default': { schema: { type: 'object' } } },
    badOptions: { 'an invalid schema': { schema: { type: 'letter' } }, 'no schema': {} },
  },
  checker: {
    // A program that every system of the tests has, and that ends at once.
    options: { 'by default': { command: ['true'] } },
    badOptions: { 'no program': { command: [] } },
  },
  repetition: { options: { 'by default': {}, bigrams: { order: 2 } }, badOptions: { 'no n-gram': { order: 0 } } },
  chrf: { options: { 'by default': {}, 'chrF++': { wordOrder: 2 } }, badOptions: { 'long words': { wordOrder: 9 } } },
  bleu: {
    options: { 'by default': {}, Chinese: { tokenize: 'zh' }, characters: { tokenize: 'char' } },
    badOptions: { 'an unknown tokenizer': { tokenize: '14a' } },
  },
  rouge: {
    options: { 'by default': {}, characters: { tokenize: 'characters' } },
    badOptions: { 'an unknown tokenizer': { tokenize: 'letters' } },
  },
};

const isMetric = (plugin: Plugin): plugin is Plugin<'metric'> => plugin.kind === 'metric';

for (const plugin of builtInPlugins.filter(isMetric)) {
  const own = settings[plugin.name];
  if (own !== undefined) describeMetric(plugin, own);
  else
    describe(plugin.name, () =>
      it('is tested', () => expect.fail(`Add the options with which '${plugin.name}' is tested to this file.`)),
    );
}

it('only existing plugins are tested', () => {
  const names = builtInPlugins.filter(isMetric).map(({ name }) => name);
  expect(Object.keys(settings).filter((name) => !names.includes(name))).toEqual([]);
});
