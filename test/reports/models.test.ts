import '@tensorflow/tfjs-backend-cpu';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError, type Json, type LanguageModel } from '@whetstone/core/contract';
import { openSafetensors, writeWeights, type TensorToWrite } from '@whetstone/core/safetensors';
import { loadLanguageModel, readOutline, saveModelFolder } from '@whetstone/models';
import { forwardInputOf, largestDifference } from '../support/model-numbers.js';
import { casePath } from './support.js';

// Expected logits: transformers, see make_models.py.
interface Fixture {
  readonly ids: number[][];
  readonly logits: Readonly<Record<string, number[]>>;
}

let folder: string;
let fixture: Fixture;
beforeAll(async () => {
  await tf.setBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'whetstone-saved-models-'));
  fixture = JSON.parse(await readFile(casePath('models/logits.json'), 'utf8')) as Fixture;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const logitsOf = (model: LanguageModel): Float32Array => {
  const mask = fixture.ids.map((row) => row.map(() => 1));
  return tf.tidy(() =>
    model.logits(forwardInputOf({ input_ids: fixture.ids, attention_mask: mask }), 'all').dataSync<'float32'>(),
  );
};

/** Loads a folder and compares its logits with those of a case; returns the notices. */
async function expectLogits(path: string, name: string): Promise<readonly string[]> {
  const notices: string[] = [];
  const model = await loadLanguageModel(path, { onNotice: (notice) => notices.push(notice) });
  expect([...(await readOutline(path)).parameters.keys()]).toEqual([...model.parameters.keys()]);
  expect(largestDifference(logitsOf(model), fixture.logits[name] ?? [])).toBeLessThan(2e-5);
  model.dispose();
  return notices;
}

/** Writes a copy of a case with other tensors or another config.json. */
async function changed(
  name: string,
  change: (tensors: TensorToWrite[]) => TensorToWrite[],
  config: Record<string, Json> = {},
): Promise<string> {
  const target = await mkdtemp(join(folder, 'changed-'));
  await cp(casePath(`models/${name}`), target, { recursive: true });
  const reader = await openSafetensors(join(target, 'model.safetensors'));
  const tensors: TensorToWrite[] = [];
  for (const [tensor, { shape }] of reader.tensors)
    tensors.push({ name: tensor, dtype: 'F32', shape, data: await reader.readFloat32(tensor) });
  await reader.close();
  await writeWeights(target, change(tensors));
  const file = join(target, 'config.json');
  const written = JSON.parse(await readFile(file, 'utf8')) as Record<string, Json>;
  await writeFile(file, JSON.stringify({ ...written, ...config }));
  return target;
}

/** Returns the error of loading a folder, which must be that of reading its outline. */
async function rejection(path: string): Promise<{ code: string; text: string }> {
  const [loading, outlining] = await Promise.all(
    [loadLanguageModel(path), readOutline(path)].map(async (read) =>
      read.then(() => null).catch((error: unknown) => error),
    ),
  );
  if (!isWhetstoneError(loading) || !isWhetstoneError(outlining)) throw new Error('was expected to be rejected');
  expect(outlining.toString()).toBe(loading.toString());
  return { code: loading.code, text: loading.toString() };
}

describe('activations', () => {
  it.each(['gemma-gelu', 'gemma-gelu-null', 'gemma2-hidden-act', 'gemma2-gelu', 'llama-hidden-activation'])(
    '%s computes as transformers does',
    async (name) => expect(await expectLogits(casePath(`models/${name}`), name)).toEqual([]),
  );
});

describe('a tied head', () => {
  it('may be stored twice, or only as the head', async () => {
    for (const name of ['tied-equal-head', 'tied-only-head'])
      expect(await expectLogits(casePath(`models/${name}`), name)).toEqual([]);
  });

  it.each(['tied-other-head', 'gpt2-other-head'])('%s is used, reported and saved', async (name) => {
    expect(await expectLogits(casePath(`models/${name}`), name)).toEqual([
      expect.stringContaining('tie_word_embeddings'),
    ]);
    const model = await loadLanguageModel(casePath(`models/${name}`));
    const saved = join(folder, `saved-${name}`);
    await saveModelFolder(model, saved);
    model.dispose();
    expect(await expectLogits(saved, name)).toEqual([]);
  });
});

describe('names that a wrapper adds when it saves', () => {
  it.each<[string, (name: string) => string]>([
    ['_orig_mod.', (name) => `_orig_mod.${name}`],
    ['module.', (name) => `module.${name}`],
    ['module. and _orig_mod.', (name) => `module._orig_mod.${name}`],
    ['_orig_mod.', (name) => name.replace('layers.', 'layers._orig_mod.')],
    ['_fsdp_wrapped_module.', (name) => `_fsdp_wrapped_module.${name}`],
  ])('%s is removed and reported', async (removed, rename) => {
    const path = await changed('tied-equal-head', (tensors) =>
      tensors.map((tensor) => ({ ...tensor, name: rename(tensor.name) })),
    );
    expect(await expectLogits(path, 'tied-equal-head')).toEqual([expect.stringContaining(removed)]);
  });

  it('stay if the file contains both names', async () => {
    const path = await changed('tied-only-head', (tensors) => [
      ...tensors,
      ...tensors.map((tensor) => ({ ...tensor, name: `module.${tensor.name}` })),
    ]);
    const { code, text } = await rejection(path);
    expect(code).toBe('MODEL_TENSOR_UNKNOWN');
    expect(text).toContain('module.model.norm.weight');
  });
});

describe('a quantised folder', () => {
  const first = (ending: string) => (tensors: TensorToWrite[]) =>
    tensors.map((tensor, index) => (index === 1 ? { ...tensor, name: `${tensor.name}${ending}` } : tensor));
  const none = (tensors: TensorToWrite[]): TensorToWrite[] => tensors;
  it.each<[string, (tensors: TensorToWrite[]) => TensorToWrite[], Record<string, Json>]>([
    ['fp8', first('_scale_inv'), { quantization_config: { quant_method: 'fp8' } }],
    [
      'bitsandbytes',
      first('.quant_state.bitsandbytes__nf4'),
      { quantization_config: { quant_method: 'bitsandbytes' } },
    ],
    ['gptq', first('.x'), { quantization_config: { quant_method: 'gptq', bits: 4 } }],
    ['awq', first('.x'), { quantization_config: { quant_method: 'awq' } }],
    ['bitsandbytes', first('.absmax'), {}],
    ['GPTQ or AWQ', (tensors) => tensors.map((one) => ({ ...one, name: one.name.replace(/weight$/, 'qweight') })), {}],
    [
      'MLX',
      (tensors) => [
        ...tensors,
        { name: 'model.embed_tokens.scales', dtype: 'F32', shape: [1], data: new Float32Array(1) },
      ],
      {},
    ],
  ])('of %s is named', async (method, change, config) => {
    const { code, text } = await rejection(await changed('tied-equal-head', change, config));
    expect(code).toBe('MODEL_QUANTIZED');
    expect(text).toContain(method);
    expect(text).toContain('qlora');
  });

  it('whose weights are not quantised is read, and saved without the description', async () => {
    const path = await changed('tied-only-head', none, { quantization_config: { quant_method: 'fp8' } });
    expect(await expectLogits(path, 'tied-only-head')).toEqual([expect.stringContaining('not quantised')]);
    const model = await loadLanguageModel(path);
    expect(model.config).not.toHaveProperty('quantization_config');
    model.dispose();
  });
});
