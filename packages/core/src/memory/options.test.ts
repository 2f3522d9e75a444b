import { describe, expect, it } from 'vitest';
import { memoryOptions, optionsHint, type MemoryConfig, type MemoryParts } from './options.js';

const configOf = (more: object = {}): MemoryConfig =>
  ({
    model: { dtype: 'float32' },
    backend: { devices: null },
    data: { tokensPerBatch: null, maxLength: 1024 },
    strategy: { use: 'full', options: {} },
    companions: [],
    optimizer: { use: 'adamw' },
    training: { perDeviceTrainBatchSize: 8, gradientAccumulationSteps: 2 },
    ...more,
  }) as unknown as MemoryConfig;

const GB = 1e9;
const parts = (more: Partial<MemoryParts> = {}): MemoryParts => ({
  weights: GB,
  linearWeights: 0.8 * GB,
  float32Weights: 0,
  adapter: 0,
  gradients: GB,
  optimizer: 2 * GB,
  states: 0,
  activations: 4 * GB,
  ...more,
});

const lora = (options: object = {}) => ({ strategy: { use: 'lora', options: { rank: 16, ...options } } });
const loraParts = parts({ float32Weights: GB, adapter: 0.3 * GB, gradients: 0.3 * GB, optimizer: 0.6 * GB });

describe('memoryOptions', () => {
  it('are those that the configuration does not use yet, by their effect', () => {
    expect(memoryOptions(configOf(), parts(), 1024)).toEqual([
      // 4 · 7/8
      'training.perDeviceTrainBatchSize 1 with training.gradientAccumulationSteps 16 (computes the same step): ' +
        'about 3.5 GB less',
      'strategy "lora" (trains an adapter instead of all weights): about 3.0 GB less',
      'data.maxLength 512 (cuts longer texts): about 2.0 GB less',
      'optimizer "sgd" (keeps no moments; trains differently): about 2.0 GB less',
    ]);
  });

  it('of an adapter are the storage of its base, and its rank', () => {
    expect(memoryOptions(configOf(lora({ useDora: true })), loraParts, 1024)).toEqual([
      expect.stringMatching(/^training\.perDeviceTrainBatchSize 1 .* 3\.5 GB less$/),
      expect.stringMatching(/^data\.maxLength 512 .* 2\.0 GB less$/),
      'useDora false of strategy "lora": about 1.3 GB less',
      // 0.8 · (1 − 0.52 / 4)
      'strategy "qlora" (4-bit weights): about 696 MB less',
      // (0.3 + 0.6 + 0.3) / 2
      'rank 8 of strategy "lora": about 600 MB less',
      expect.stringMatching(/^optimizer "sgd"/),
      'model.dtype "bfloat16": about 500 MB less',
    ]);
  });

  it.each([
    ['rows', { training: { perDeviceTrainBatchSize: 1, gradientAccumulationSteps: 1 } }, 'BatchSize'],
    ['a strategy that trains adapters', lora(), '"lora" (trains'],
    ['quantised weights', { strategy: { use: 'qlora', options: {} } }, '"qlora" (4-bit'],
    ['PiSSA, which cannot be quantised', lora({ initLoraWeights: 'pissa' }), 'qlora'],
    ['bfloat16', { ...lora(), model: { dtype: 'bfloat16' } }, 'model.dtype'],
    ['bfloat16 of trained weights', {}, 'model.dtype'],
    ['an optimizer without moments', { optimizer: { use: 'sgd' } }, 'optimizer'],
  ])('does not name what is used or excluded: %s', (_, more, text) => {
    expect(memoryOptions(configOf(more), loraParts, 1024).join()).not.toContain(text);
  });

  it('takes the tokens of a batch, which replace the number of rows, but not below one row', () => {
    const data = { tokensPerBatch: 1500, maxLength: 1024 };
    const [first] = memoryOptions(configOf({ data }), parts(), 1024);
    expect(first).toContain('strategy "lora"');
    expect(memoryOptions(configOf({ data }), parts(), 1024).join()).toContain('data.tokensPerBatch 1024: about 2.0 GB');
    expect(memoryOptions(configOf({ data }), parts(), 1024).join()).not.toContain('BatchSize');
  });

  it('names a companion that keeps copies of the weights, and devices', () => {
    const config = configOf({ companions: [{ use: 'ewc' }], backend: { devices: 4 } });
    const options = memoryOptions(config, parts({ states: 2 * GB }), 1024);
    // (1 + 1 + 2 + 2 + 4) · 3/4
    expect(options[0]).toBe('backend.devices 1: about 7.5 GB less');
    expect(options).toContain('no companion "ewc": about 2.0 GB less');
  });

  it('are ordered by typical sizes before anything is known, and name none', () => {
    const options = memoryOptions(configOf(), null, 1024);
    expect(options[0]).toBe('strategy "lora" (trains an adapter instead of all weights)');
    expect(options.join()).not.toContain('less');
  });
});

it('the hint names what is left if no option does', () => {
  expect(optionsHint([])).toBe('A smaller model, or a machine with more memory.');
  expect(optionsHint(['a', 'b'])).toBe('In the order of their effect: a; b.');
});
