import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { dataOptions, evaluationOptions, training } from '../config/frame-schema.js';
import { differencesOf, rules } from './compare-config.js';

/** The configuration in a checkpoint of version 0.1.0. */
const saved = (): Record<string, unknown> =>
  JSON.parse(
    readFileSync(
      new URL('../../../../test/versions/0.1.0/run/checkpoint-3/config.resolved.json', import.meta.url),
      'utf8',
    ),
  ) as Record<string, unknown>;

/** Returns a value whose objects have their keys in the opposite order. */
const reversed = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(
        Object.entries(value)
          .toReversed()
          .map(([key, inner]) => [key, reversed(inner)]),
      )
    : value;

/** Returns the configuration with another value at a path. */
function changed(path: string, value: unknown): Record<string, unknown> {
  const config = saved();
  const keys = path.split('.');
  let inner = config;
  for (const key of keys.slice(0, -1)) inner = inner[key] as Record<string, unknown>;
  inner[keys.at(-1) ?? ''] = value;
  return config;
}

describe('the settings of two runs', () => {
  it('are equal in any order of keys', () => {
    expect(differencesOf(saved(), reversed(saved()), [])).toEqual([]);
  });

  it('are equal if a key that an earlier version lacks is off', () => {
    const config = { ...saved(), data: { ...(saved()['data'] as object), later: null, another: [] } };
    expect(differencesOf(saved(), config, [])).toEqual([]);
  });

  it.each([
    ['training.seed', 7, 'seed'],
    ['training.dataSeed', 7, 'seed'],
    ['data.packing', true, 'packing'],
    ['data.maxLength', 5, 'length'],
    ['data.truncationMode', 'keep_end', 'length'],
    ['data.rolesToTrain', ['assistant', 'user'], 'data'],
    ['data.roleWeights', { user: 0.5 }, 'data'],
    ['data.trainSamplingStrategy', 'sequential', 'data'],
    ['data.curriculum', { by: 'length' }, 'data'],
    ['data.evalShare', 0.1, 'data'],
    ['training.perDeviceTrainBatchSize', 5, 'inexact'],
    ['training.gradientAccumulationSteps', 5, 'inexact'],
    ['data.tokensPerBatch', 512, 'inexact'],
    ['data.paddingFree', 'other', 'inexact'],
    ['backend.matmul', 'bfloat16', 'inexact'],
    ['model.dtype', 'bfloat16', 'inexact'],
    ['strategy.options.rank', 5, 'tensors'],
    ['strategy.options.targetModules', ['q_proj'], 'tensors'],
    ['strategy.options.useRslora', true, 'tensors'],
    ['strategy.options.dropout', 0.9, 'reported'],
    ['model.addTokens', ['<x>'], 'tensors'],
    ['callbacks', [], 'reported'],
  ])('%s → %j is %s', (path, value, rule) => {
    const found = differencesOf(saved(), changed(path, value), ['dropout']);
    expect([...new Set(found.map((each) => each.rule))]).toEqual([rule]);
    for (const each of found) expect(each.path.startsWith(path)).toBe(true);
  });

  it.each([
    ['strategy.options.targetModules', ['v_proj', 'q_proj'], ['q_proj', 'v_proj']],
    ['strategy.options.layersToTransform', 1, [1]],
    ['data.rolesToTrain', ['assistant', 'user'], ['user', 'assistant']],
  ])('%s → %j is the set %j', (path, one, other) => {
    expect(differencesOf(changed(path, one), changed(path, other), [])).toEqual([]);
    expect(differencesOf(changed(path, one), changed(path, ['other']), [])).toHaveLength(1);
  });

  it.each([
    ['optimizer.learningRate', 1],
    ['schedule', { use: 'linear' }],
    ['training.numTrainEpochs', 9],
    ['training.evalSteps', 9],
    ['training.saveSteps', 9],
    ['training.loggingSteps', 9],
    ['training.resumeFromCheckpoint', true],
    ['evaluation.replies', 1],
    ['loggers', []],
    ['output.folder', '/elsewhere'],
    ['baseFolder', '/elsewhere'],
  ])('%s → %j changes freely', (path, value) => {
    expect(differencesOf(saved(), changed(path, value), [])).toEqual([]);
  });

  it('have a rule for every setting of data, training and evaluation', () => {
    const paths = [
      ...['train', 'eval', 'transforms', ...Object.keys(dataOptions)].map((key) => `data.${key}`),
      ...Object.keys(training.properties).map((key) => `training.${key}`),
      ...Object.keys(evaluationOptions).map(() => 'evaluation'),
    ];
    expect(paths.filter((path) => !(path in rules))).toEqual([]);
  });

  it('has no difference in a seed of the data that equals the seed, and in a packing strategy without packing', () => {
    const { seed } = saved()['training'] as { readonly seed: number };
    expect(differencesOf(saved(), changed('training.dataSeed', seed), [])).toEqual([]);
    expect(differencesOf(saved(), changed('data.packingStrategy', 'wrapped'), [])).toEqual([]);
  });
});
