import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeSafetensors } from '@whetstone/core/safetensors';
import { createRandomModel } from '@whetstone/models';
import { adapterToMlx } from '../support/adapter-to-mlx.js';
import { loadAdapter, readAdapterFolder } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { batchOf, randomRows } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';
import { expectNoLeak } from '../support/model-numbers.js';

let folder = '';
beforeAll(async () => {
  await useBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'whetstone-mlx-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it("reads an adapter folder of mlx-lm in PEFT's format", async () => {
  await expectNoLeak(async () => {
    const model = createRandomModel(
      {
        model_type: 'llama',
        vocab_size: 24,
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        max_position_embeddings: 32,
        rms_norm_eps: 1e-5,
      },
      2,
    );
    const logits = (): Float32Array =>
      tf.tidy(() => Float32Array.from(model.logits(batchOf(randomRows(2, 24, 5)), 'all').dataSync()));
    const attachment = await loraStrategy({ rank: 2 }).attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
    for (const variable of attachment.trainable.values()) {
      const moved = tf.tidy(() => tf.add(variable, 0.1));
      variable.assign(moved as tf.Tensor);
      moved.dispose();
    }
    const trained = logits();
    const exported = attachment.exportAdapter?.();
    if (exported === undefined) throw new Error('no adapter');
    const mlx = adapterToMlx(model, exported);
    await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(mlx.config));
    await writeSafetensors(
      join(folder, 'adapters.safetensors'),
      [...mlx.tensors].map(([name, tensor]) => ({
        name,
        dtype: 'F32' as const,
        shape: tensor.shape,
        data: Float32Array.from(tensor.dataSync()),
      })),
    );
    tf.dispose([...mlx.tensors.values()]);
    attachment.dispose();

    const files = await readAdapterFolder(folder);
    const adapter = await loadAdapter(model, files);
    files.dispose();
    expect(logits()).toEqual(trained);
    adapter.dispose();
    model.dispose();
  });
});
