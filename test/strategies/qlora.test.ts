import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backend as currentBackend } from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WhetstoneBackend } from '@whetstone/backend/internal';
import { storageOf } from '@whetstone/core/ops';
import { batchOf, randomRows } from '@whetstone/testing';
import { createRandomModel, loadLanguageModel, saveModelFolder } from '@whetstone/models';
import type { QloraOptions } from '../../packages/strategies/src/qlora/options.js';
import { qloraStrategy } from '../../packages/strategies/src/qlora/qlora.js';
import { testBackends, useBackend } from '../support/backend.js';
import { runSteps } from '../support/trajectory.js';

const config = {
  model_type: 'llama',
  vocab_size: 512,
  hidden_size: 256,
  intermediate_size: 512,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  hidden_act: 'silu',
  initializer_range: 0.02,
};
const linear = 3 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 256 * 512);
const rest = 512 * 256 + 7 * 256;

const isThere = (await testBackends()).includes('whetstone');

describe.skipIf(!isThere)('the memory of a quantised base', () => {
  let root: string;
  beforeAll(async () => {
    await useBackend('whetstone');
    root = await mkdtemp(join(tmpdir(), 'whetstone-qlora-'));
    const model = createRandomModel(config, 1);
    await saveModelFolder(model, join(root, 'model'), { copyFrom: null });
    model.dispose();
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  const cases: readonly (readonly [string, Partial<QloraOptions>, bytesPerParameter: number])[] = [
    ['NF4 with compressed scales', {}, 0.525],
    ['FP4 with compressed scales', { quantType: 'fp4' }, 0.525],
    ['NF4 with single scales', { doubleQuantization: false }, 0.5625],
    ['int8', { quantType: 'int8' }, 1.05],
  ];

  it.each(cases)('%s', async (_, options, limit) => {
    const device = currentBackend() as WhetstoneBackend;
    const strategy = await qloraStrategy({ rank: 4, ...options });
    const before = device.counters();
    const model = await loadLanguageModel(join(root, 'model'), { storage: strategy.storage ?? null });
    const loaded = device.counters();

    const packed = [...model.linearSites.values()]
      .filter(({ isOutput }) => !isOutput)
      .map(({ weight }) => storageOf(weight).bytes);
    expect(packed.length).toBe(3 * 7);
    const total = packed.reduce((sum, bytes) => sum + bytes, 0);
    expect(total / linear).toBeLessThanOrEqual(limit);
    // Loading takes memory only for packed weights, the float32 embedding and norms, and small tables.
    expect(loaded.deviceBytes - before.deviceBytes - total - 4 * rest).toBeLessThanOrEqual(4096);
    // The peak is not higher, because each weight is packed before it is copied to the device.
    expect(loaded.peakDeviceBytes).toBeLessThanOrEqual(Math.max(before.peakDeviceBytes, loaded.deviceBytes));
    expect(loaded.hostToDeviceBytes - before.hostToDeviceBytes).toBeLessThanOrEqual(total + 4 * rest + 4096);

    // The weights remain packed in training.
    const attachment = await strategy.attach(model, { seed: 1, totalSteps: 3, modelFolder: null });
    const attached = device.counters().deviceBytes;
    const batch = batchOf(randomRows(2, 512, 3));
    const outcomes = await runSteps(model, attachment, [[batch], [batch], [batch]], {
      learningRate: 1e-2,
      weightDecay: 0,
      maxNorm: null,
      schedule: () => 1,
    });
    expect(outcomes.at(-1)?.loss).toBeLessThan(outcomes[0]?.loss ?? 0);
    await device.settle();
    expect(
      [...model.linearSites.values()]
        .filter(({ isOutput }) => !isOutput)
        .reduce((sum, { weight }) => sum + storageOf(weight).bytes, 0),
    ).toBe(total);
    expect(device.counters().deviceBytes).toBe(attached);
    attachment.dispose();
    model.dispose();
  });
});
