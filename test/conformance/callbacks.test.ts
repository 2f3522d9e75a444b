import { beforeAll } from 'vitest';
import { earlyStopping, gradientClipping, metricsJsonl, nanGuard, repetitionPenalty } from '@whetstone/plugins';
import { describeCallback } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';

beforeAll(() => useBackend('cpu'));

describeCallback(earlyStopping, {
  evaluationMetrics: { bleu: 3 },
  options: { 'by default': {}, 'a metric to maximise': { metric: 'bleu', mode: 'max', patience: 2 }, 'the train loss': { metric: 'trainLoss', trainLossWindow: 2, threshold: 0.2 } },
  badOptions: { 'no patience': { patience: 0 }, 'an unknown mode': { mode: 'up' }, 'an unknown key': { patients: 3 } },
});

describeCallback(gradientClipping, {
  options: { 'by default': {}, 'each parameter': { mode: 'parameter-norm', maxNorm: 0.5 }, values: { mode: 'value', maxValue: 0.2 }, adaptive: { mode: 'adaptive' }, 'skipping what is not finite': { nonFinite: 'skip' } },
  badOptions: { 'a norm of nothing': { maxNorm: 0 }, 'an unknown mode': { mode: 'global' } },
});

describeCallback(nanGuard, { options: { 'by default': {}, 'a threshold': { action: 'stop', lossThreshold: 2.5, patience: 2 } }, badOptions: { 'no patience': { patience: 0 } } });

describeCallback(metricsJsonl, { options: { 'without a folder': {} }, badOptions: { 'no name': { file: '' } } });

describeCallback(repetitionPenalty, {
  options: { 'by default': {}, 'n-grams and diversity': { ngram: 2, diversity: 0.2 }, 'diversity alone': { unlikelihood: 0, diversity: 1 } },
  badOptions: { 'a negative weight': { unlikelihood: -1 }, 'no n-gram': { ngram: 0 } },
});
