import { existsSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WhetstoneError, type LanguageModel } from '@whetstone/core/contract';
import { readJsonObject } from '@whetstone/core/files';
import { loadLanguageModel } from '@whetstone/models';
import { adapterToMlx } from '../support/adapter-to-mlx.js';
import { loadAdapter, readAdapterFolder } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { testBackends, useBackend } from '../support/backend.js';
import { goldenPath, readGolden } from '../support/golden.js';
import { forwardInputOf, largestDifference } from '../support/model-numbers.js';
import { readTensors } from '../support/tensors.js';

interface Fixture {
  readonly input_ids: number[][];
  readonly tolerance: { readonly logits_abs: number };
  /** Rounding error of the reference. */
  readonly drift_float32_vs_float64: Readonly<Record<string, number>>;
}

/** Fixtures of other seeds come from a generator without this section. */
const exists = existsSync(goldenPath('mlx', 'golden.json'));
const folders = ['lora', 'lora-keys', 'dora'];

/** Expected values: mlx-lm's own training and logits on a CPU (`mlx/generate.py`). */
describe.skipIf(!exists).each(await testBackends())('adapters of mlx-lm, on %s', (backend) => {
  const fixture = exists
    ? readGolden<Fixture>('mlx', 'golden.json')
    : { input_ids: [], tolerance: { logits_abs: 0 }, drift_float32_vs_float64: {} };
  const rows = { input_ids: fixture.input_ids, attention_mask: fixture.input_ids.map((row) => row.map(() => 1)) };
  let model: LanguageModel;
  let expected: ReadonlyMap<string, Float32Array>;
  beforeAll(async () => {
    await useBackend(backend);
    model = await loadLanguageModel(goldenPath('models', 'llama'));
    expected = await readTensors(goldenPath('mlx', 'logits.safetensors'));
  });
  afterAll(() => model.dispose());
  const logits = (): ArrayLike<number> => tf.tidy(() => model.logits(forwardInputOf(rows), 'all').dataSync());
  const limitOf = (name: string): number =>
    Math.max(fixture.tolerance.logits_abs, 4 * (fixture.drift_float32_vs_float64[name] ?? 0));
  const expectLogits = (name: string): void =>
    expect(largestDifference(logits(), expected.get(name) ?? [])).toBeLessThanOrEqual(limitOf(name));

  it('the base has the same logits', () => expectLogits('base'));

  it.each(folders)('%s: is read, continued and written', async (name) => {
    const folder = goldenPath('mlx', name);
    expect(
      largestDifference(expected.get(name) ?? [], expected.get('base') ?? []),
      'the adapter has an effect',
    ).toBeGreaterThan(0.05);
    const files = await readAdapterFolder(folder);
    const loaded = await loadAdapter(model, files);
    expectLogits(name);
    loaded.dispose();

    const attachment = await loraStrategy({ adapter: folder }).attach(model, {
      seed: 1,
      totalSteps: 1,
      modelFolder: null,
    });
    expectLogits(name);
    attachment.dispose();

    // The written tensors equal those of mlx-lm, and the configuration has the fields that its loader reads.
    const mlx = adapterToMlx(model, files);
    const stored = await readTensors(goldenPath('mlx', name, 'adapters.safetensors'));
    expect([...mlx.tensors.keys()].sort()).toEqual([...stored.keys()].sort());
    for (const [key, tensor] of mlx.tensors)
      expect(largestDifference(tensor.dataSync(), stored.get(key) ?? []), key).toBe(0);
    const config = await readJsonObject(goldenPath('mlx', name, 'adapter_config.json'), {
      missing: () => new WhetstoneError('INTERNAL', name),
      invalid: () => new WhetstoneError('INTERNAL', name),
    });
    const { fine_tune_type: type, lora_parameters: parameters } = config as {
      readonly fine_tune_type: string;
      readonly lora_parameters: { readonly rank: number; readonly scale: number; readonly dropout: number };
    };
    const { rank, scale, dropout } = parameters;
    expect(mlx.config).toMatchObject({ fine_tune_type: type, lora_parameters: { rank, scale, dropout } });
    tf.dispose([...mlx.tensors.values()]);
    files.dispose();
  });
});
