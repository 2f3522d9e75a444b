import '@tensorflow/tfjs-backend-cpu';
import { readdirSync, readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '@whetstone/core/contract';
import { loadLanguageModel } from '@whetstone/models';
import { readAdapterFolder } from '@whetstone/strategies';
import { exportMismatches } from '../../packages/core/src/checkpoint/export-mismatches.js';
import { goldenPath } from '../support/golden.js';
import { casePath } from './support.js';

const models = new Map<string, LanguageModel>();
beforeAll(async () => {
  await tf.setBackend('cpu');
  for (const name of ['llama', 'llama-tied', 'gpt2'])
    models.set(name, await loadLanguageModel(goldenPath('models', name)));
});
afterAll(() => {
  for (const model of models.values()) model.dispose();
});

type Fields = Record<string, unknown>;
type Shapes = Map<string, { readonly shape: readonly number[] }>;

/** Compares the configuration and the tensors of a folder, after a change. */
async function mismatches(
  folder: string,
  model: string,
  change: (config: Fields, tensors: Shapes) => void = () => undefined,
): Promise<string[]> {
  const files = await readAdapterFolder(folder);
  const config = { ...(files.config as Fields) };
  const tensors: Shapes = new Map([...files.tensors].map(([key, { shape }]) => [key, { shape }]));
  files.dispose();
  change(config, tensors);
  return exportMismatches(models.get(model) ?? expect.fail('no model'), { config, tensors }).map(
    ({ message, place, expected, found }) => [message, place?.path, place?.tensor, expected, found].join(' | '),
  );
}

describe('an adapter that PEFT wrote', () => {
  const { models: bases } = JSON.parse(readFileSync(casePath('adapters/logits.json'), 'utf8')) as {
    readonly models: Readonly<Record<string, string>>;
  };
  it.each([
    ...readdirSync(goldenPath('peft')).map((name) => [goldenPath('peft', name), name.replace(/.*-/, '')] as const),
    ...Object.entries(bases).map(([name, base]) => [casePath(`adapters/${name}`), base] as const),
  ])('agrees with its configuration: %s', async (folder, model) => {
    expect(await mismatches(folder, model)).toEqual([]);
  });
});

describe('an exported adapter is refused if PEFT would read it differently', () => {
  const remove =
    (part: string) =>
    (_: Fields, tensors: Shapes): void => {
      for (const key of tensors.keys()) if (key.includes(part)) tensors.delete(key);
    };
  const set =
    (fields: Fields) =>
    (config: Fields): void =>
      void Object.assign(config, fields);

  it.each<[string, string, string, (config: Fields, tensors: Shapes) => void, string]>([
    ['prefix', 'prefix-llama', 'llama', set({ num_virtual_tokens: 99 }), '[99, '],
    ['prefix', 'prefix-llama', 'llama', set({ num_virtual_tokens: null }), 'positive integer'],
    ['prefix', 'prefix-llama', 'llama', set({ num_layers: 2 }), 'num_layers differs from the model'],
    ['prefix', 'prefix-llama', 'llama', set({ token_dim: 16 }), 'token_dim differs from the model'],
    ['prefix', 'prefix-gpt2', 'gpt2', set({ num_attention_heads: 3 }), 'num_attention_heads differs'],
    ['prefix', 'prefix-projection-llama', 'llama', remove('prompt_embeddings'), 'nothing'],
    ['prompt', 'prompt-tuning-llama', 'llama', set({ num_virtual_tokens: 1 }), '[1, 16]'],
    ['prompt', 'prompt-tuning-gpt2', 'gpt2', set({ token_dim: 8 }), 'token_dim differs from the model'],
    [
      'prompt',
      'prompt-tuning-gpt2',
      'gpt2',
      (_, tensors) => tensors.set('base_model.model.lm_head.weight', { shape: [1] }),
      'lm_head.weight',
    ],
    ['P-tuning', 'p-tuning', 'llama', set({ num_virtual_tokens: 4 }), '[4, 16]'],
    ['LoRA', 'lora-llama', 'llama', set({ layers_to_transform: [1] }), 'does not select model.layers.0'],
    ['LoRA', 'lora-llama', 'llama', remove('layers.1.self_attn.v_proj'), 'selects model.layers.1.self_attn.v_proj'],
    ['LoRA', 'lora-llama', 'llama', set({ r: 5 }), 'differs from r and rank_pattern'],
    ['LoRA', 'lora-patterns-llama', 'llama', set({ rank_pattern: {} }), 'differs from r and rank_pattern'],
    [
      'LoRA',
      'lora-llama',
      'llama',
      set({ alpha_pattern: { q_proj: 4, '.*_proj': 2 } }),
      'alpha_pattern match model.layers.0.self_attn.q_proj',
    ],
    ['LoRA', 'lora-llama', 'llama', set({ use_dora: true }), 'magnitudes of DoRA are missing'],
    ['DoRA', 'dora-gpt2', 'gpt2', set({ use_dora: false }), 'need use_dora'],
    ['LoRA', 'lora-llama', 'llama', set({ modules_to_save: ['norm'] }), 'base_model.model.model.norm.weight'],
    [
      'LoRA',
      'tokens-of-both',
      'llama',
      set({ trainable_token_indices: { embed_tokens: [3] } }),
      '2 tokens for lm_head',
    ],
    ['LoRA', 'lora-llama', 'llama', set({ trainable_token_indices: [3] }), 'rows of trainable_token_indices'],
    ['LoRA', 'lora-llama', 'llama', set({ layers_pattern: 'layers' }), 'without layers_to_transform'],
    [
      'LoRA',
      'lora-llama',
      'llama',
      set({ target_modules: '.*_proj', layers_to_transform: [0] }),
      'refuses layers_to_transform if target_modules is a string',
    ],
    ['LoRA', 'lora-gpt2', 'llama', () => undefined, 'belongs to no module'],
    ['LoRA', 'head', 'llama-tied', () => undefined, 'differs from r and rank_pattern'],
    ['IA3', 'ia3-llama', 'llama', set({ feedforward_modules: [] }), 'differs from feedforward_modules'],
    ['IA3', 'ia3-llama', 'llama', set({ exclude_modules: ['k_proj'] }), 'does not select'],
    ['a type of others', 'prompt-tuning-llama', 'llama', set({ peft_type: 'ACME', num_virtual_tokens: 9 }), '9 rows'],
    ['a type of others', 'lora-llama', 'llama', set({ peft_type: 'ACME', layers_to_transform: 0 }), 'does not select'],
  ])('%s %s', async (_, name, model, change, message) => {
    const isGolden = /-(llama|gpt2)$/.test(name);
    const folder = isGolden ? goldenPath('peft', name) : casePath(`adapters/${name}`);
    expect((await mismatches(folder, model, change)).join('\n')).toContain(message);
  });
});
