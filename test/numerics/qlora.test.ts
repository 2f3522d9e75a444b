import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors } from '@whetstone/core/safetensors';
import { storageOf } from '@whetstone/core/ops';
import { loadLanguageModel } from '@whetstone/models';
import type { QloraOptions } from '../../packages/strategies/src/qlora/options.js';
import { qloraStrategy } from '../../packages/strategies/src/qlora/qlora.js';
import { quantiseInt8 } from '../../packages/strategies/src/qlora/int8.js';
import { testBackends, useBackend } from '../support/backend.js';
import { batchOf, type FixtureBatch } from '../support/batch.js';
import { goldenPath, readGolden } from '../support/golden.js';
import { assignAll, difference, readTensors } from '../support/tensors.js';
import { attach, runSteps } from '../support/trajectory.js';

interface Fixture {
  readonly learning_rate: number;
  readonly steps: number;
  readonly batches: readonly FixtureBatch[];
  readonly runs: Readonly<
    Record<
      string,
      { readonly quant_type: 'nf4' | 'fp4'; readonly double_quantization: boolean; readonly losses: readonly number[] }
    >
  >;
  readonly tolerance: {
    readonly logits_abs: number;
    readonly loss_abs: number;
    readonly final_weight_abs: number;
    readonly final_weight_mean_abs: number;
    readonly int8_rel: number;
  };
}

/** Fixtures of other seeds come from a generator without this section. */
const exists = existsSync(goldenPath('qlora', 'golden.json'));
const backends = await testBackends();

let disposables: { dispose(): void }[] = [];
afterEach(() => {
  for (const item of disposables) item.dispose();
  disposables = [];
});

/** Expected values: PyTorch, PEFT and bitsandbytes on a CPU (`qlora/generate.py`). */
describe.skipIf(!exists).each(backends)('QLoRA equals PEFT with bitsandbytes on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  const fixture = exists ? readGolden<Fixture>('qlora', 'golden.json') : null;

  it('continues training of an adapter of PEFT with the same base, step by step', async () => {
    if (fixture === null) return;
    const run = fixture.runs['nf4'];
    if (run === undefined) throw new Error('no run nf4');
    const folder = await mkdtemp(join(tmpdir(), 'whetstone-qlora-adapter-'));
    await copyFile(goldenPath('qlora', 'nf4', 'init.safetensors'), join(folder, 'adapter_model.safetensors'));
    await writeFile(
      join(folder, 'adapter_config.json'),
      JSON.stringify({
        peft_type: 'LORA',
        task_type: 'CAUSAL_LM',
        r: 4,
        lora_alpha: 8,
        lora_dropout: 0,
        bias: 'none',
        target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
      }),
    );
    const strategy = await qloraStrategy({ adapter: folder, doubleQuantization: run.double_quantization });
    const model = await loadLanguageModel(goldenPath('qlora', 'model'), { storage: strategy.storage ?? null });
    const attachment = await attach(strategy, model, fixture.steps);
    disposables = [attachment, model];
    const windows = Array.from({ length: fixture.steps }, (_, step) => [
      batchOf(fixture.batches[step % fixture.batches.length] as FixtureBatch),
    ]);
    const outcomes = await runSteps(model, attachment, windows, {
      learningRate: fixture.learning_rate,
      weightDecay: 0,
      maxNorm: null,
      schedule: () => 1,
    });
    run.losses.forEach((loss, step) =>
      expect(Math.abs((outcomes[step]?.loss ?? NaN) - loss), `loss of step ${step + 1}`).toBeLessThanOrEqual(
        fixture.tolerance.loss_abs,
      ),
    );
    await rm(folder, { recursive: true, force: true });
  });

  it.each(['nf4', 'fp4'])('%s: in the base, sixteen steps and the adapter', async (name) => {
    if (fixture === null) return;
    const { tolerance } = fixture;
    const run = fixture.runs[name];
    if (run === undefined) throw new Error(`no run ${name}`);
    const options: Partial<QloraOptions> = {
      rank: 4,
      alpha: 8,
      quantType: run.quant_type,
      doubleQuantization: run.double_quantization,
    };
    const strategy = await qloraStrategy(options);
    const model = await loadLanguageModel(goldenPath('qlora', 'model'), { storage: strategy.storage ?? null });
    const attachment = await attach(strategy, model, fixture.steps);
    disposables = [attachment, model];
    const site = model.linearSites.get('model.layers.0.self_attn.q_proj');
    // tfjs-node stores float32 only.
    expect(storageOf(site?.weight as tf.Tensor).format).toBe(tf.getBackend() === 'tensorflow' ? 'float32' : name);

    const logits = await readTensors(goldenPath('qlora', name, 'logits.safetensors'));
    const [first] = fixture.batches;
    const logitsNow = (): ArrayLike<number> =>
      tf.tidy(() => model.logits(batchOf(first as FixtureBatch), 'all').dataSync());
    expect(difference(logitsNow(), logits.get('base') ?? []).largest).toBeLessThanOrEqual(tolerance.logits_abs);

    assignAll(attachment.trainable, await readTensors(goldenPath('qlora', name, 'init.safetensors')), (values, shape) =>
      tf.tensor(values, shape),
    );
    const windows = Array.from({ length: fixture.steps }, (_, step) => [
      batchOf(fixture.batches[step % fixture.batches.length] as FixtureBatch),
    ]);
    const outcomes = await runSteps(model, attachment, windows, {
      learningRate: fixture.learning_rate,
      weightDecay: 0,
      maxNorm: null,
      schedule: () => 1,
    });
    run.losses.forEach((loss, step) =>
      expect(Math.abs((outcomes[step]?.loss ?? NaN) - loss), `loss of step ${step + 1}`).toBeLessThanOrEqual(
        tolerance.loss_abs,
      ),
    );

    const final = await readTensors(goldenPath('qlora', name, 'final.safetensors'));
    for (const [key, variable] of attachment.trainable) {
      const { largest, mean } = difference(variable.dataSync(), final.get(key) ?? []);
      expect(largest, key).toBeLessThanOrEqual(tolerance.final_weight_abs);
      expect(mean, key).toBeLessThanOrEqual(tolerance.final_weight_mean_abs);
    }
  });
});

it.skipIf(!exists)('int8 storage equals bitsandbytes', async () => {
  const { tolerance } = readGolden<Fixture>('qlora', 'golden.json');
  const reader = await openSafetensors(goldenPath('qlora', 'int8.safetensors'));
  const read = (name: string): Promise<Float32Array> => reader.readFloat32(name);
  const packed = quantiseInt8(await read('input'), [5, 64]);
  expect([...packed.values]).toEqual([...(await read('values'))]);
  const largest = await read('scales');
  packed.scales.forEach((scale, row) =>
    expect(Math.abs((scale * 127) / (largest[row] ?? NaN) - 1)).toBeLessThanOrEqual(tolerance.int8_rel),
  );
  const expected = await read('dequantized');
  packed.values.forEach((value, index) =>
    expect(
      Math.abs(value * (packed.scales[Math.floor(index / 64)] ?? 0) - (expected[index] ?? NaN)),
    ).toBeLessThanOrEqual(tolerance.int8_rel * Math.abs(expected[index] ?? 0)),
  );
  await reader.close();
});
