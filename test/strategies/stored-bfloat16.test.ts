import { backend as currentBackend } from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WhetstoneBackend } from '@whetstone/backend/internal';
import type { Strategy, WeightStorage } from '@whetstone/core/contract';
import { storageOf } from '@whetstone/core/ops';
import { loadLanguageModel } from '@whetstone/models';
import { loraStrategy } from '@whetstone/strategies/internal';
import { batchOf, randomRows } from '@whetstone/testing';
import { testBackends, useBackend } from '../support/backend.js';
import { goldenPath } from '../support/golden.js';
import { attach, runSteps } from '../support/trajectory.js';

const isThere = (await testBackends()).includes('whetstone');
const batch = batchOf(randomRows(2, 96, 3));
const hyper = { learningRate: 1e-2, weightDecay: 0, maxNorm: 1, schedule: () => 1 };
const stored: WeightStorage = () => 'stored';

/** Trains two steps on a model whose file is bfloat16. Returns the losses and all trained numbers. */
async function train(storage: WeightStorage | null, strategy: Strategy) {
  const model = await loadLanguageModel(goldenPath('models/llama-bf16'), { storage });
  const formats = new Set([...model.linearSites.values()].map(({ weight }) => storageOf(weight).format));
  const attachment = await attach(strategy, model, 2);
  const outcomes = await runSteps(model, attachment, [[batch], [batch]], hyper);
  const trained = [...attachment.trainable].map(([name, tensor]) => [name, [...tensor.dataSync()]]);
  attachment.dispose();
  model.dispose();
  return { formats: [...formats], numbers: { losses: outcomes.map(({ loss }) => loss), trained } };
}

describe.skipIf(!isThere)('products in bfloat16', () => {
  beforeAll(async () => {
    await useBackend('whetstone');
    (currentBackend() as WhetstoneBackend).setMatmul('bfloat16');
  });
  afterAll(() => (currentBackend() as WhetstoneBackend).setMatmul('float32'));

  // The default of model.dtype with them is `auto`, which is therefore no choice between two results.
  it.each([
    ['LoRA', {}],
    ['DoRA', { useDora: true }],
    ['a saved embedding and head', { modulesToSave: ['embed_tokens', 'lm_head'] }],
    ['trained tokens', { trainableTokenIndices: [3, 5] }],
  ] as const)('give the same numbers of %s with weights that stay in bfloat16', async (_, options) => {
    const strategy = (): Strategy => loraStrategy({ rank: 4, alpha: 8, ...options });
    const float32 = await train(null, strategy());
    const bfloat16 = await train(stored, strategy());
    expect(float32.formats).toEqual(['float32']);
    expect(bfloat16.formats).toEqual(['bfloat16']);
    expect(bfloat16.numbers).toEqual(float32.numbers);
  });
});
