import type { Template } from './template.js';

export const model: Template = {
  description: 'Loads models of an architecture that differs from Llama in a few properties.',
  configuration: (use) => ({ model: { use, path: './model' } }),
  source: ({ name, description }) => `import { definePlugin, WhetstoneError } from '@whetstone/core/contract';
import { architectures, loadModel } from '@whetstone/models';

const llama = architectures.get('llama');
if (llama === undefined) throw new WhetstoneError('PLUGIN_FAILED', 'This version of Whetstone has no Llama.');

/** The value of model_type in config.json. */
const MODEL_TYPE = '${name}';

/** Llama with another context by default. Other differences are fields, too: the norms, biases, names of tensors. */
const spec = { ...llama, modelType: MODEL_TYPE, defaults: { ...llama.defaults, max_position_embeddings: 4096 } };

export default definePlugin({
  apiVersion: 2,
  kind: 'model',
  name: '${name}',
  version: '0.1.0',
  description: '${description}',
  configSchema: { type: 'object', additionalProperties: false },
  create: () => ({ load: (folder, options) => loadModel(folder, { ...options, architectures: [spec] }) }),
});
`,
  test: () => `import '@tensorflow/tfjs-backend-cpu';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memory, setBackend } from '@tensorflow/tfjs-core';
import { createFrom } from '@whetstone/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTinyModel } from 'whetstone';
import plugin from './index.js';

let folder = '';
beforeAll(async () => {
  await setBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'model-'));
  await createTinyModel(folder, { hiddenSize: 32, layers: 1 });
  const file = join(folder, 'config.json');
  const { max_position_embeddings: _context, ...config } = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...config, model_type: plugin.name }));
});
afterAll(() => rm(folder, { recursive: true }));

it('loads a model of its architecture, and disposes it', async () => {
  const loader = await createFrom(plugin, {});
  const before = memory().numTensors;
  const { model } = await loader.load(folder);
  expect(model.maxLength).toBe(4096);
  expect([...model.linearSites.keys()]).toContain('model.layers.0.self_attn.q_proj');
  model.dispose();
  expect(memory().numTensors).toBe(before);
});
`,
};
