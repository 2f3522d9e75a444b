import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { cacheFolder } from '@whetstone/backend/install';
import { loadLanguageModel } from '@whetstone/models';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { expect, it } from 'vitest';
import { testBackends, useBackend } from '../support/backend.js';
import { goldenPath, readGolden } from '../support/golden.js';
import { assignAll, readTensors } from '../support/tensors.js';
import { attach, runSteps } from '../support/trajectory.js';
import { batchOf } from '../support/batch.js';

interface LoraRun {
  readonly batches: readonly {
    readonly input_ids: readonly (readonly number[])[];
    readonly labels: readonly (readonly number[])[];
  }[];
  readonly steps: readonly {
    readonly loss: number;
    readonly grad_norm: number;
    readonly lr: number;
    readonly target_tokens: number;
  }[];
  readonly final_norms: Readonly<Record<string, number>>;
  readonly tolerance: { readonly loss_abs: number; readonly grad_norm_rel: number; readonly final_B_norm_rel: number };
}

const modelFolder = join(cacheFolder(), 'models', 'smollm2-135m');
const backends = await testBackends();
const backend = ['whetstone', 'xla'].find((name) => backends.includes(name));
const missing = [
  ...(existsSync(join(modelFolder, 'model.safetensors')) ? [] : ['the model: npx whetstone model fetch smollm2-135m']),
  // Other backends take minutes for 135 million parameters.
  ...(backend === undefined
    ? [
        process.env['WHETSTONE_TEST_BACKEND']
          ? `whetstone or xla among the backends asked for (${backends.join(', ')})`
          : 'libtensorflow: npx whetstone backend install cpu',
      ]
    : []),
];
if (missing.length > 0) console.warn(`LoRA on SmolLM2 is not tested; missing: ${missing.join('; ')}`);

/** Pads rows to equal length with 0, which the mask hides. */
function padded(rows: readonly (readonly number[])[], filler: number): number[][] {
  const length = Math.max(...rows.map((row) => row.length));
  return rows.map((row) => [...row, ...Array.from({ length: length - row.length }, () => filler)]);
}

/** Rounds to bfloat16, ties to even, as the reference did with the weights before it trained in float32. */
function roundToBfloat16(variable: tf.Variable): void {
  const values = variable.dataSync().slice() as Float32Array;
  const bits = new Uint32Array(values.buffer);
  for (let index = 0; index < bits.length; index++)
    bits[index] = (((bits[index] ?? 0) + 0x7fff + (((bits[index] ?? 0) >>> 16) & 1)) & 0xffff0000) >>> 0;
  const rounded = tf.tensor(values, variable.shape);
  variable.assign(rounded);
  rounded.dispose();
}

const relative = (actual: number, expected: number): number => Math.abs(actual - expected) / Math.abs(expected);

/** Expected values: PEFT on the dequantised SmolLM2-135M-Instruct, six steps of LoRA from a given adapter. */
it.skipIf(missing.length > 0)('six steps of LoRA on SmolLM2-135M-Instruct', { timeout: 900_000 }, async () => {
  await useBackend(backend ?? '');
  const fixture = readGolden<LoraRun>('smollm2', 'lora.json');
  const adapter = readGolden<{ r: number; lora_alpha: number; target_modules: string[] }>(
    'smollm2',
    'lora_init',
    'adapter_config.json',
  );
  const model = await loadLanguageModel(modelFolder);
  for (const parameter of model.parameters.values()) roundToBfloat16(parameter);
  const attachment = await attach(
    loraStrategy({ rank: adapter.r, alpha: adapter.lora_alpha, targetModules: adapter.target_modules }),
    model,
    fixture.steps.length,
  );
  assignAll(
    attachment.trainable,
    await readTensors(goldenPath('smollm2', 'lora_init', 'adapter_model.safetensors')),
    (values, shape) => tf.tensor(values, shape),
  );

  const windows = fixture.batches.map((batch) => [
    batchOf({
      input_ids: padded(batch.input_ids, 0),
      labels: padded(batch.labels, -100),
      attention_mask: padded(
        batch.input_ids.map((row) => row.map(() => 1)),
        0,
      ),
    }),
  ]);
  const [first] = fixture.steps;
  const outcomes = await runSteps(model, attachment, windows, {
    learningRate: first?.lr ?? NaN,
    weightDecay: 0,
    maxNorm: null,
    schedule: () => 1,
  });
  for (const [index, expected] of fixture.steps.entries()) {
    const actual = outcomes[index];
    expect(actual?.supervisedTokens).toBe(expected.target_tokens);
    expect(Math.abs((actual?.loss ?? NaN) - expected.loss), `loss of step ${index + 1}`).toBeLessThanOrEqual(
      fixture.tolerance.loss_abs,
    );
    expect(
      relative(actual?.metrics['gradNorm'] ?? NaN, expected.grad_norm),
      `norm of step ${index + 1}`,
    ).toBeLessThanOrEqual(fixture.tolerance.grad_norm_rel);
  }
  for (const [name, variable] of attachment.trainable) {
    const norm = tf.tidy(() => tf.norm(variable).dataSync()[0] ?? NaN);
    expect(relative(norm, fixture.final_norms[name] ?? NaN), name).toBeLessThanOrEqual(
      fixture.tolerance.final_B_norm_rel,
    );
  }
  attachment.dispose();
  model.dispose();
});
