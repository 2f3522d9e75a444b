import '@tensorflow/tfjs-backend-cpu';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError, type LanguageModel } from '@whetstone/core/contract';
import { loadLanguageModel } from '@whetstone/models';
import { loadAdapter, mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { goldenPath } from '../support/golden.js';
import { casePath } from './support.js';

type Fields = Readonly<Record<string, unknown>>;

let root: string;
let model: LanguageModel;
beforeAll(async () => {
  await tf.setBackend('cpu');
  root = await mkdtemp(join(tmpdir(), 'whetstone-fields-'));
  model = await loadLanguageModel(goldenPath('models', 'llama'));
});
afterAll(async () => {
  model.dispose();
  await rm(root, { recursive: true, force: true });
});

/** The folder of an adapter of each type that PEFT wrote, and the class of its configuration. */
const types = {
  lora: [goldenPath('peft', 'lora-llama'), 'LoraConfig'],
  ia3: [goldenPath('peft', 'ia3-llama'), 'IA3Config'],
  prefix: [goldenPath('peft', 'prefix-llama'), 'PrefixTuningConfig'],
  prompt: [goldenPath('peft', 'prompt-tuning-llama'), 'PromptTuningConfig'],
  'P-tuning': [casePath('adapters/p-tuning'), 'PromptEncoderConfig'],
} as const;
type TypeName = keyof typeof types;

/** Writes an adapter with further fields; its other fields stay as PEFT wrote them. */
async function adapterWith(type: TypeName, fields: Fields): Promise<string> {
  const folder = await mkdtemp(join(root, 'adapter-'));
  const [source] = types[type];
  await cp(join(source, 'adapter_model.safetensors'), join(folder, 'adapter_model.safetensors'));
  const written = JSON.parse(await readFile(join(source, 'adapter_config.json'), 'utf8')) as Fields;
  const config = { ...written, base_model_name_or_path: null, ...fields };
  await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(config));
  return folder;
}

const run = (warn: (message: string) => void) => ({ seed: 1, totalSteps: 1, modelFolder: model.folder, warn });

/** The ways to use an adapter. Each calls `warn` with the warnings. */
const uses: Readonly<Record<string, (type: TypeName, folder: string, warn: (message: string) => void) => unknown>> = {
  load: async (_, folder, warn) => {
    const files = await readAdapterFolder(folder);
    try {
      (await loadAdapter(model, files, [], { warn })).dispose();
    } finally {
      files.dispose();
    }
  },
  merge: async (type, folder, warn) => {
    if (type !== 'lora' && type !== 'ia3') return;
    const files = await readAdapterFolder(folder);
    try {
      (await mergeAdapter(model, files, [], { warn })).dispose();
    } finally {
      files.dispose();
    }
  },
  continue: async (type, folder, warn) => {
    if (type === 'lora') (await loraStrategy({ adapter: folder }).attach(model, run(warn))).dispose();
    if (type === 'prefix' || type === 'prompt')
      (await prefixStrategy({ adapter: folder }).attach(model, run(warn))).dispose();
  },
};
const usesOf: Readonly<Record<TypeName, readonly string[]>> = {
  lora: ['load', 'merge', 'continue'],
  ia3: ['load', 'merge'],
  prefix: ['load', 'continue'],
  prompt: ['load', 'continue'],
  'P-tuning': ['load'],
};
const cases = Object.entries(usesOf).flatMap(([type, names]) => names.map((name) => [type as TypeName, name] as const));

async function use(type: TypeName, name: string, fields: Fields): Promise<{ warnings: string[]; error: string }> {
  const warnings: string[] = [];
  try {
    await uses[name]?.(type, await adapterWith(type, fields), (message) => void warnings.push(message));
    return { warnings, error: '' };
  } catch (error) {
    if (isWhetstoneError(error)) return { warnings, error: error.toString() };
    throw error;
  }
}

// The fields of PEFT 0.21 with their defaults.
const { classes } = JSON.parse(readFileSync(goldenPath('trl-fields', 'fields.json'), 'utf8')) as {
  readonly classes: Readonly<Record<string, Readonly<Record<string, { readonly default: unknown }>>>>;
};

describe('fields of adapter_config.json', () => {
  it.each(cases)('of %s that PEFT has are accepted with their defaults: %s', async (type, name) => {
    const fields = Object.entries(classes[types[type][1]] ?? {}).map(([key, field]) => [key, field.default]);
    expect(fields.length).toBeGreaterThan(12);
    const written = JSON.parse(await readFile(join(types[type][0], 'adapter_config.json'), 'utf8')) as Fields;
    const all = { ...Object.fromEntries(fields), ...written, base_model_name_or_path: null };
    expect(await use(type, name, all)).toEqual({ warnings: [], error: '' });
  });

  it.each(cases)('of %s that are unknown are named in a warning: %s', async (type, name) => {
    const { warnings, error } = await use(type, name, { use_quantum: true, rank_schedule: null });
    expect(error).toBe('');
    expect(warnings).toEqual([expect.stringMatching(/adapter_config\.json .*use_quantum, rank_schedule/)]);
  });

  it.each<[TypeName, Fields]>([
    ['lora', { lora_bias: true }],
    ['lora', { use_qalora: true }],
    ['lora', { layer_replication: [[0, 2]] }],
    ['lora', { target_parameters: ['mlp.experts.gate_up_proj'] }],
    ['lora', { alora_invocation_tokens: [1, 2] }],
    ['lora', { arrow_config: { top_k: 3 } }],
    ['lora', { use_bdlora: { nblocks: 2 } }],
    ['lora', { kasa_config: {} }],
    ['lora', { monteclora_config: { num_samples: 4 } }],
    ['lora', { velora_config: { num_groups: 4 } }],
    ['lora', { enable_lora: [true, false, true] }],
    ['lora', { bias: 'some' }],
    ['lora', { layers_to_transform: '1' }],
    ['lora', { layers_to_transform: [0.5] }],
    ['prefix', { num_transformer_submodules: 2 }],
    ['prompt', { num_transformer_submodules: 2 }],
  ])('of %s that change the result are refused by name: %j', async (type, fields) => {
    for (const name of usesOf[type]) {
      const { error } = await use(type, name, fields);
      expect(error).toContain('[ADAPTER_INVALID]');
      expect(error).toContain(Object.keys(fields)[0]);
    }
  });

  it.each<Fields>([
    { layer_replication: [] },
    { eva_config: { rho: 2 } },
    { corda_config: { corda_method: 'kpm' } },
    { loftq_config: { loftq_bits: 4 } },
    { megatron_config: {} },
    { runtime_config: { ephemeral_gpu_offload: true } },
    { qalora_group_size: 32 },
    { merge_weights: true },
    { revision: 'main', inference_mode: false, auto_mapping: { base_model_class: 'LlamaForCausalLM' } },
  ])('that do not change the result are accepted: %j', async (fields) => {
    for (const name of usesOf.lora) expect(await use('lora', name, fields)).toEqual({ warnings: [], error: '' });
  });
});
