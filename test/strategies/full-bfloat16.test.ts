import { join } from 'node:path';
import { backend as currentBackend, tidy } from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { beforeAll, describe, expect, it } from 'vitest';
import type { WhetstoneBackend } from '@whetstone/backend/internal';
import { writeTrained } from '@whetstone/core/checkpoint';
import { storageOf } from '@whetstone/core/ops';
import { openSafetensors } from '@whetstone/core/safetensors';
import { batchOf, randomRows } from '@whetstone/testing';
import { createRandomModel, loadLanguageModel } from '@whetstone/models';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { testBackends, useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { runSteps } from '../support/trajectory.js';

const config = {
  model_type: 'llama',
  vocab_size: 96,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  hidden_act: 'silu',
  initializer_range: 0.2,
};
const run = { seed: 1, totalSteps: 4, modelFolder: null };
const batch = batchOf(randomRows(2, 96, 3));
const hyper = (learningRate: number): Parameters<typeof runSteps>[3] => ({
  learningRate,
  weightDecay: 0,
  maxNorm: null,
  schedule: () => 1,
});

describe.each(await testBackends())('bfloat16 weights with float32 masters on %s', (name) => {
  beforeAll(() => useBackend(name));

  it('masters accumulate updates that are too small for bfloat16', async () => {
    const model = createRandomModel(config, 1);
    const attachment = await fullStrategy({ weights: 'bfloat16' }).attach(model, run);
    const norm = model.parameters.get('model.norm.weight');
    const master = attachment.masters?.get('model.norm.weight');
    if (norm === undefined || master === undefined) throw new Error('no norm');
    // Near 1, bfloat16 has a resolution of 2⁻⁸ below and 2⁻⁷ above. One of Adam's steps of 0.001 is rounded away; the
    // sum
    // of several is not.
    await runSteps(model, attachment, [[batch]], hyper(1e-3));
    expect(new Set(norm.dataSync())).toEqual(new Set([1]));
    expect([...master.dataSync()].every((value) => value !== 1 && Math.abs(value - 1) < 0.0011)).toBe(true);
    await runSteps(
      model,
      attachment,
      Array.from({ length: 8 }, () => [batch]),
      hyper(1e-3),
    );
    expect([...norm.dataSync()].some((value) => value !== 1)).toBe(true);
    attachment.dispose();
    // After dispose, the parameters have the values of the masters.
    expect([...norm.dataSync()].some((value) => value * 128 !== Math.round(value * 128))).toBe(true);
    model.dispose();
  });

  it('the saved folder contains bfloat16 weights with equal logits', async () => {
    const model = createRandomModel(config, 1);
    const attachment = await fullStrategy({ weights: 'bfloat16' }).attach(model, run);
    await runSteps(model, attachment, [[batch], [batch]], hyper(1e-2));
    const logits = (of: typeof model): number[] => tidy(() => [...of.logits(batch, 'all').dataSync()]);
    const trained = logits(model);
    const folder = await temporaryFolder();
    await writeTrained(folder, model, attachment);
    const reader = await openSafetensors(join(folder, 'model.safetensors'));
    expect(new Set([...reader.tensors.values()].map(({ dtype }) => dtype))).toEqual(new Set(['BF16']));
    await reader.close();
    const saved = await loadLanguageModel(folder);
    expect(saved.config['dtype']).toBe('bfloat16');
    expect(logits(saved)).toEqual(trained);
    attachment.dispose();
    for (const each of [model, saved]) each.dispose();
  });

  it.runIf(name === 'whetstone')('takes 2 bytes per weight, 4 per master and 8 per pair of moments', async () => {
    const device = currentBackend() as WhetstoneBackend;
    const before = device.counters().deviceBytes;
    const model = createRandomModel(config, 1);
    const count = [...model.parameters.values()].reduce((sum, { size }) => sum + size, 0);
    const attachment = await fullStrategy({ weights: 'bfloat16' }).attach(model, run);
    await device.settle();
    expect(device.counters().deviceBytes - before).toBe(6 * count);
    await runSteps(model, attachment, [[batch]], hyper(1e-3));
    await device.settle();
    expect([...model.parameters.values()].reduce((sum, parameter) => sum + storageOf(parameter).bytes, 0)).toBe(
      2 * count,
    );
    attachment.dispose();
    model.dispose();
    expect(device.counters().deviceBytes).toBe(before);
  });
});
