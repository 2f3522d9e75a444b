import '@whetstone/core/tfjs-gradients';
import { add, matMul, mul, tensor2d, tidy, transpose, zeros, type Rank, type Tensor2D } from '@tensorflow/tfjs-core';
import { createRandom, fillFloat32 } from '@whetstone/core/random';
import { createRandomModel } from '@whetstone/models';
import { lora } from '@whetstone/strategies';
import { describeStrategy } from '@whetstone/testing';
import { beforeAll, expect, it } from 'vitest';
import { mergeLora, prepareLora } from '../../packages/strategies/src/lora/adapter.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import type { LoraOptions } from '../../packages/strategies/src/lora/options.js';
import { loraVariants } from '../../packages/strategies/src/lora/variants/index.js';
import { masked } from '../../packages/strategies/src/lora/variants/low-rank.js';
import type { LoraVariant } from '../../packages/strategies/src/lora/variants/variant.js';
import { useBackend } from '../support/backend.js';

beforeAll(() => useBackend('cpu'));

/** LoHa (Hyeon-Woo et al. 2022): y = W·x + s·((B₁·A₁) ∘ (B₂·A₂))·x. B₂ is zero at first. */
const loha: LoraVariant = {
  peftType: 'LOHA',
  selects: () => true,
  shapes: {
    hada_w1_a: ({ outFeatures }, rank) => [outFeatures, rank],
    hada_w1_b: ({ inFeatures }, rank) => [rank, inFeatures],
    hada_w2_a: ({ outFeatures }, rank) => [outFeatures, rank],
    hada_w2_b: ({ inFeatures }, rank) => [rank, inFeatures],
  },
  init: ({ site, rank, scale, seed, tensor }) => {
    const { inFeatures, outFeatures } = site;
    const random = createRandom(seed, `loha ${site.name}`);
    const normal = (rows: number, columns: number): Tensor2D =>
      tensor2d(
        fillFloat32(rows * columns, () => random.normal()),
        [rows, columns],
      );
    const b1 = tensor('hada_w1_a', () => normal(outFeatures, rank));
    const a1 = tensor('hada_w1_b', () => normal(rank, inFeatures));
    const b2 = tensor('hada_w2_a', () => zeros<Rank.R2>([outFeatures, rank]));
    const a2 = tensor('hada_w2_b', () => normal(rank, inFeatures));
    const update = (): Tensor2D => mul(mul<Tensor2D>(matMul(b1, a1), matMul(b2, a2)), scale);
    return {
      site,
      forward: (base, dropout) => (input) => add(base(input), matMul(masked(input, dropout), update(), false, true)),
      merge: () => tidy(() => add<Tensor2D>(site.weight, site.fanInFanOut ? transpose(update()) : update())),
      dispose: () => {},
    };
  },
};

// The suite trains, saves and resumes the variant, and compares the trained model with its adapter, loaded and merged.
describeStrategy(
  {
    ...lora,
    name: 'loha',
    adapter: {
      peftTypes: ['LOHA'],
      load: (model, files) => prepareLora(model, files, [loha]),
      merge: (model, files) => mergeLora(model, files, [loha]),
    },
    create: (options: LoraOptions) => loraStrategy(options, [loha, ...loraVariants]),
  },
  {
    model: () =>
      createRandomModel(
        {
          model_type: 'gpt2',
          vocab_size: 24,
          n_embd: 8,
          n_layer: 2,
          n_head: 2,
          n_positions: 32,
          n_inner: null,
          layer_norm_epsilon: 1e-5,
          activation_function: 'gelu_new',
          initializer_range: 0.3,
        },
        3,
      ),
    seeded: true,
    learningRate: 0.02,
    options: {
      'all linear layers': { rank: 2 },
      'with dropout and a head': {
        rank: 3,
        alpha: 2,
        dropout: 0.2,
        targetModules: ['c_fc'],
        modulesToSave: ['lm_head'],
      },
    },
    badOptions: { 'a target that matches nothing': { targetModules: ['q_porj'] } },
  },
);

it('the plugin reads the types of all variants', () => {
  const types = new Set(loraVariants.map(({ peftType }) => peftType));
  expect(lora.adapter?.peftTypes).toEqual([...types]);
});
