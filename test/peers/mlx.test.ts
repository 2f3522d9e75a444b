import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { expect, it } from 'vitest';
import { writeSafetensors } from '@whetstone/core/safetensors';
import { loadLanguageModel } from '@whetstone/models';
import { adapterToMlx } from '../support/adapter-to-mlx.js';
import { loadAdapter, readAdapterFolder } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { useBackend } from '../support/backend.js';
import { goldenPath } from '../support/golden.js';
import { forwardInputOf, largestDifference } from '../support/model-numbers.js';

const python = process.env['WHETSTONE_MLX_PYTHON'];
if (python === undefined)
  console.warn(
    'Adapters are not exchanged with mlx-lm itself: set WHETSTONE_MLX_PYTHON to a python that has it (pip ' +
      'install "mlx[cpu]" mlx-lm).',
  );

const rows = { input_ids: [[5, 17, 3, 42, 8, 61, 12]], attention_mask: [[1, 1, 1, 1, 1, 1, 1]] };

/** Asks mlx-lm all questions in one process. */
function ask(requests: readonly object[]): Promise<readonly (readonly number[])[]> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      python ?? '',
      [fileURLToPath(new URL('../support/mlx_peer.py', import.meta.url))],
      { maxBuffer: 1 << 28 },
      (error, stdout, stderr) => {
        if (error === null) resolve(JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as number[][]);
        else reject(new Error(stderr, { cause: error }));
      },
    );
    child.stdin?.end(JSON.stringify(requests));
  });
}

it.runIf(python !== undefined)(
  'mlx-lm computes with an adapter that was exported for it what we compute',
  async () => {
    await useBackend('cpu');
    const folder = await mkdtemp(join(tmpdir(), 'whetstone-mlx-peer-'));
    const modelFolder = goldenPath('models', 'llama');
    const model = await loadLanguageModel(modelFolder);
    const logits = (): number[] => tf.tidy(() => [...model.logits(forwardInputOf(rows), 'all').dataSync()]);
    try {
      const base = logits();
      const ours: number[][] = [base];
      const requests: object[] = [{ model: modelFolder, adapter: null, ids: rows.input_ids }];
      for (const [name, options] of [
        ['all', { rank: 3, alpha: 6 }],
        ['some', { rank: 2, alpha: 5, targetModules: ['q_proj', 'down_proj'] }],
        ['dora', { rank: 2, alpha: 5, useDora: true }],
      ] as const) {
        const attachment = await loraStrategy(options).attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
        for (const [index, variable] of [...attachment.trainable.values()].entries()) {
          const values = tf.randomNormal(variable.shape, 0, 0.2, 'float32', index);
          variable.assign(values as tf.Tensor);
          values.dispose();
        }
        ours.push(logits());
        const exported = attachment.exportAdapter?.();
        if (exported === undefined) throw new Error('no adapter');
        const mlx = adapterToMlx(model, exported);
        const adapter = join(folder, name);
        await mkdir(adapter);
        await writeFile(join(adapter, 'adapter_config.json'), JSON.stringify(mlx.config));
        await writeSafetensors(
          join(adapter, 'adapters.safetensors'),
          [...mlx.tensors].map(([key, tensor]) => ({
            name: key,
            dtype: 'F32' as const,
            shape: tensor.shape,
            data: Float32Array.from(tensor.dataSync()),
          })),
        );
        tf.dispose([...mlx.tensors.values()]);
        attachment.dispose();
        // The other direction: mlx-lm would write this folder.
        const files = await readAdapterFolder(adapter);
        const loaded = await loadAdapter(model, files);
        expect(largestDifference(logits(), ours.at(-1) ?? [])).toBeLessThanOrEqual(1e-6);
        loaded.dispose();
        files.dispose();
        requests.push({ model: modelFolder, adapter, ids: rows.input_ids });
      }
      const theirs = await ask(requests);
      for (const [index, values] of ours.entries()) {
        expect(largestDifference(values, theirs[index] ?? []), String(index)).toBeLessThanOrEqual(1e-3);
        if (index > 0) expect(largestDifference(values, base)).toBeGreaterThan(0.05);
      }
    } finally {
      model.dispose();
      await rm(folder, { recursive: true, force: true });
    }
  },
  580_000,
);
