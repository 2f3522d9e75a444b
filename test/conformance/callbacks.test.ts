import '@whetstone/core/tfjs-gradients';
import { beforeAll, describe, expect, it } from 'vitest';
import { builtInPlugins } from '../../packages/cli/src/built-ins.js';
import type { Plugin } from '@whetstone/core/contract';
import { describeCallback, type DescribeCallbackOptions } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';
import { loadedOf, tinyModel } from '../support/training.js';

beforeAll(() => useBackend('cpu'));

/** The options with which each built-in callback and logger is tested. A missing one fails below. */
const settings: Readonly<Record<string, DescribeCallbackOptions>> = {
  'early-stopping': {
    evaluationMetrics: { bleu: 3 },
    options: {
      'by default': {},
      'a metric to maximize': { metric: 'bleu', mode: 'max', patience: 2 },
      'the train loss': { metric: 'trainLoss', trainLossWindow: 2, threshold: 0.2 },
      'a baseline and a warmup': { baseline: 2.1, warmupEvaluations: 2, patience: 2, restoreBest: false },
      'a relative threshold': { threshold: 0.05, thresholdMode: 'relative' },
    },
    badOptions: {
      'no patience': { patience: 0 },
      'an unknown mode': { mode: 'up' },
      'an unknown key': { patients: 3 },
    },
  },
  'gradient-clipping': {
    options: {
      'by default': {},
      'each parameter': { mode: 'parameter-norm', maxNorm: 0.5 },
      values: { mode: 'value', maxValue: 0.2 },
      adaptive: { mode: 'adaptive' },
      'skipping steps that are not finite': { nonFinite: 'skip' },
      'stopping at steps that are not finite': { nonFinite: 'stop' },
    },
    badOptions: { 'a norm of 0': { maxNorm: 0 }, 'an unknown mode': { mode: 'global' } },
  },
  'nan-guard': {
    options: {
      'by default': {},
      'a threshold': { action: 'stop', lossThreshold: 2.5, patience: 2 },
      'skipping steps that are not finite': { action: 'skip', maxSkips: 2 },
    },
    badOptions: {
      'no patience': { patience: 0 },
      'an unknown action': { action: 'leave' },
      'no skips': { action: 'skip', maxSkips: 0 },
    },
  },
  'metrics-jsonl': {
    options: { 'by default': {}, 'another file name': { file: 'log.jsonl' } },
    badOptions: { 'no name': { file: '' } },
  },
  'repetition-penalty': {
    vocabularySize: 48,
    loaded: () => loadedOf(tinyModel(2)),
    options: {
      'by default': {},
      'n-grams and diversity': { ngram: 2, diversity: 0.2 },
      'diversity alone': { unlikelihood: 0, diversity: 1 },
      "the model's own replies": { generated: { ngram: 1, maxNewTokens: 8, pool: 3, everySteps: 2, perMicrobatch: 2 } },
    },
    badOptions: {
      'a negative weight': { unlikelihood: -1 },
      'no n-gram': { ngram: 0 },
      'no replies': { generated: { pool: 0 } },
      'an unknown key': { generated: { promts: [] } },
    },
  },
  // The runs have fewer steps than the interval, so that the logger does not clutter the output of the tests.
  console: { options: { 'a long interval': { everySteps: 1000 } }, badOptions: { never: { everySteps: 0 } } },
  tensorboard: {
    options: { 'by default': {}, 'another folder, every second step': { folder: 'events', everySteps: 2 } },
    badOptions: { never: { everySteps: 0 }, 'no folder': { folder: '' } },
  },
};

const isCallback = (plugin: Plugin): plugin is Plugin<'callback'> | Plugin<'logger'> =>
  plugin.kind === 'callback' || plugin.kind === 'logger';

for (const plugin of builtInPlugins.filter(isCallback)) {
  const own = settings[plugin.name];
  if (own !== undefined) describeCallback(plugin, own);
  else
    describe(plugin.name, () =>
      it('is tested', () => expect.fail(`Add the options with which '${plugin.name}' is tested to this file.`)),
    );
}

it('only existing plugins are tested', () => {
  expect(
    Object.keys(settings).filter(
      (name) => !builtInPlugins.some((plugin) => isCallback(plugin) && plugin.name === name),
    ),
  ).toEqual([]);
});
