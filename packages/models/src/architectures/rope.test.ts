import { describe, expect, it } from 'vitest';
import type { Json } from '@whetstone/core/contract';
import { readShape } from './read-shape.js';
import type { Rope } from './shape.js';

const base: Record<string, Json> = {
  model_type: 'llama',
  vocab_size: 8,
  hidden_size: 64,
  intermediate_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  max_position_embeddings: 256,
};
const ropeOf = (config: Record<string, Json>): Rope => readShape({ ...base, ...config }).ropes[0] as Rope;

// Expected values: ROPE_INIT_FUNCTIONS of transformers 5.23 on the same config (head_dim 16, theta 10000).
const short = [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7];
const long = [2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5];
const cases: [string, Record<string, Json>, number, number[], number][] = [
  [
    'linear',
    { rope_type: 'linear', factor: 4 },
    10,
    [0.25, 0.079056941, 0.0250000004, 0.0079056947, 0.0024999999, 0.0007905695, 0.00025, 7.90569e-5],
    1,
  ],
  [
    'dynamic within the length',
    { rope_type: 'dynamic', factor: 4 },
    100,
    [1, 0.3162277639, 0.1000000015, 0.0316227786, 0.0099999998, 0.0031622779, 0.001, 0.0003162278],
    1,
  ],
  [
    'dynamic beyond the length',
    { rope_type: 'dynamic', factor: 4 },
    512,
    [1, 0.2512737513, 0.0631385073, 0.0158650484, 0.0039864704, 0.0010016954, 0.0002516998, 6.32455e-5],
    1,
  ],
  [
    'yarn',
    { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 },
    10,
    [1, 0.2371708155, 0.049999997, 0.0079056947, 0.0024999999, 0.0007905695, 0.00025, 7.90569e-5],
    1.138629436111989,
  ],
  [
    'yarn with all options',
    {
      rope_type: 'yarn',
      factor: 4,
      original_max_position_embeddings: 64,
      beta_fast: 8,
      beta_slow: 2,
      mscale: 1.2,
      mscale_all_dim: 0.8,
    },
    10,
    [1, 0.1976423562, 0.0250000004, 0.0079056947, 0.0024999999, 0.0007905695, 0.00025, 7.90569e-5],
    1.0499159215939338,
  ],
  [
    'longrope within the original length',
    { rope_type: 'longrope', original_max_position_embeddings: 64, short_factor: short, long_factor: long },
    64,
    [1, 0.2874797583, 0.0833333358, 0.0243252143, 0.0071428572, 0.0021081853, 0.000625, 0.0001860163],
    1.1547005383792517,
  ],
  [
    'longrope beyond the original length',
    { rope_type: 'longrope', original_max_position_embeddings: 64, short_factor: short, long_factor: long },
    65,
    [0.5, 0.1264911145, 0.0333333351, 0.0090350788, 0.0024999999, 0.0007027284, 0.0002, 5.7496e-5],
    1.1547005383792517,
  ],
  [
    'llama3',
    { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 },
    10,
    [1, 0.2443845868, 0.0130422562, 0.0039528473, 0.00125, 0.0003952847, 0.000125, 3.95285e-5],
    1,
  ],
];

describe('rotary frequencies equal transformers', () => {
  it.each(cases)('%s', (_, parameters, length, expected, attentionFactor) => {
    const notations: Record<string, Json>[] = [
      { rope_parameters: { rope_theta: 10_000, ...parameters } },
      { rope_theta: 10_000, rope_scaling: parameters },
    ];
    for (const config of notations) {
      const rope = ropeOf(config);
      const frequencies = rope.frequencies(length);
      expect(frequencies.length).toBe(expected.length);
      for (const [pair, value] of expected.entries())
        expect(Math.abs((frequencies[pair] ?? NaN) - value)).toBeLessThan(2e-7 * Math.max(value, 1e-3));
      expect(rope.attentionFactor).toBeCloseTo(attentionFactor, 12);
    }
  });

  it("reads Gemma 3's two tables in both notations", () => {
    const gemma: Record<string, Json> = {
      ...base,
      model_type: 'gemma3_text',
      num_hidden_layers: 6,
      head_dim: 16,
      num_key_value_heads: 1,
      sliding_window: 4,
    };
    const older = readShape({
      ...gemma,
      rope_theta: 5e5,
      rope_local_base_freq: 2e4,
      rope_scaling: { rope_type: 'linear', factor: 8 },
    });
    const newer = readShape({
      ...gemma,
      rope_parameters: {
        full_attention: { rope_type: 'linear', factor: 8, rope_theta: 5e5 },
        sliding_attention: { rope_type: 'default', rope_theta: 2e4 },
      },
    });
    for (const table of [0, 1]) expect(older.ropes[table]?.frequencies(1)).toEqual(newer.ropes[table]?.frequencies(1));
    expect(older.layers.map(({ rope, window }) => [rope, window])).toEqual([
      ...Array.from({ length: 5 }, () => [1, 4]),
      [0, null],
    ]);
  });
});

describe('config.json', () => {
  const problemsOf = (config: Record<string, Json>): string => {
    try {
      readShape(config);
    } catch (error) {
      return String(error);
    }
    return '';
  };

  it('reports all invalid fields together', () => {
    const text = problemsOf({
      ...base,
      vocab_size: -1,
      hidden_size: '64',
      num_key_value_heads: 3,
      hidden_act: 'mish',
      rope_scaling: { rope_type: 'spiral' },
    });
    for (const part of [
      'MODEL_CONFIG_INVALID',
      'vocab_size',
      'hidden_size',
      'num_key_value_heads',
      'hidden_act',
      'rope_scaling.rope_type',
      '"spiral"',
      'llama3',
    ])
      expect(text).toContain(part);
    expect(problemsOf({ ...base, rope_scaling: { rope_type: 'linear' } })).toContain('rope_scaling.factor');
    expect(problemsOf({ ...base, model_type: 'qwen2', layer_types: ['full_attention', 'x'] })).toContain('layer_types');
  });

  it('rejects an impossible number of layers before it creates them', () => {
    const text = problemsOf({ ...base, num_hidden_layers: 2 ** 50 });
    for (const part of ['MODEL_CONFIG_INVALID', 'num_hidden_layers', 'at most']) expect(text).toContain(part);
  });

  it('lists the known architectures if the architecture is unknown', () => {
    const text = problemsOf({ ...base, model_type: 'mamba' });
    for (const part of ['MODEL_ARCHITECTURE_UNKNOWN', '"mamba"', 'gpt2', 'gemma3_text']) expect(text).toContain(part);
  });
});
