import '@tensorflow/tfjs-backend-cpu';
import { readFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError, type Json, type LanguageModel } from '@whetstone/core/contract';
import { openSafetensors, writeSafetensors, writeWeights, type TensorToWrite } from '@whetstone/core/safetensors';
import { importGguf, loadLanguageModel, readOutline, saveModelFolder } from '@whetstone/models';
import { modelAsGguf } from '../support/model-as-gguf.js';
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

describe('shards with a tensor that the index does not list', () => {
  /** Writes a case in two shards; the head is in one or in both, and not in the index. */
  const sharded = async (both: boolean): Promise<string> => {
    const path = await changed('tied-other-head', (tensors) => tensors);
    const single = join(path, 'model.safetensors');
    const reader = await openSafetensors(single);
    const all: TensorToWrite[] = [];
    for (const [name, { shape }] of reader.tensors)
      all.push({ name, dtype: 'F32', shape, data: await reader.readFloat32(name) });
    await reader.close();
    await rm(single);
    const shardOf = ({ name }: TensorToWrite): string => (name.includes('layers') ? 'a.safetensors' : 'b.safetensors');
    for (const shard of ['a.safetensors', 'b.safetensors'])
      await writeSafetensors(
        join(path, shard),
        all.filter((one) => shardOf(one) === shard || (both && one.name === 'lm_head.weight')),
      );
    const listed = all.filter(({ name }) => name !== 'lm_head.weight').map((one) => [one.name, shardOf(one)]);
    await writeFile(
      join(path, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: Object.fromEntries(listed) as Json }),
    );
    return path;
  };

  it('are read completely', async () => {
    expect(await expectLogits(await sharded(false), 'tied-other-head')).toEqual([
      expect.stringContaining('tie_word_embeddings'),
    ]);
  });

  it('are refused if two shards contain it', async () => {
    const { code, text } = await rejection(await sharded(true));
    expect(code).toBe('SAFETENSORS_INVALID');
    expect(text).toContain('lm_head.weight');
  });
});

describe('a head in a GGUF file', () => {
  /** Imports a case from a GGUF file, for which config.json must contain the defaults of transformers. */
  const imported = async (name: string): Promise<string> => {
    const defaults = { rms_norm_eps: 1e-6, rope_theta: 10_000, layer_norm_epsilon: 1e-5, n_inner: 32 };
    const file = join(folder, `${name}.gguf`);
    await writeFile(file, await modelAsGguf(await changed(name, (tensors) => tensors, defaults)));
    const out = join(folder, `imported-${name}`);
    await importGguf(file, out);
    return out;
  };

  it.each(['tied-other-head', 'gpt2-other-head'])('%s is used if it differs from the embedding', async (name) => {
    expect(await expectLogits(await imported(name), name)).toEqual([]);
  });

  it('that repeats the embedding is tied', async () => {
    const out = await imported('tied-equal-head');
    expect(await expectLogits(out, 'tied-equal-head')).toEqual([]);
    const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as Record<string, Json>;
    expect(config['tie_word_embeddings']).toBe(true);
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

  it.each<[string, string, (name: string) => string]>([
    ['model.', 'tied-equal-head', (name) => `model.${name}`],
    ['net.', 'tied-equal-head', (name) => `net.${name}`],
    ['model.', 'tied-equal-head', (name) => `model.module._orig_mod.${name}`],
    ['model.', 'tied-equal-head', (name) => `_forward_module.model.${name.replace('mlp.', 'mlp._orig_mod.')}`],
    ['model.', 'tied-equal-head', (name) => `module._fsdp_wrapped_module.model._orig_mod.${name}`],
    ['model.', 'tied-only-head', (name) => `model.${name}`],
    ['model.', 'tied-other-head', (name) => `model.${name}`],
    ['model.', 'gpt2-other-head', (name) => `model.${name}`],
    ['model.', 'gpt2-other-head', (name) => `model.${name.replace('transformer.', '')}`],
    ['backbone.model.', 'gemma-gelu', (name) => `backbone.model.${name}`],
  ])('%s of a module that contains the model is removed and reported, in %s', async (removed, name, rename) => {
    const path = await changed(name, (tensors) => tensors.map((tensor) => ({ ...tensor, name: rename(tensor.name) })));
    expect(await expectLogits(path, name)).toContainEqual(expect.stringContaining(` start with ${removed},`));
  });

  it('stay if a tensor lies outside of the module', async () => {
    const outside: TensorToWrite = { name: 'loss.weight', dtype: 'F32', shape: [1], data: new Float32Array(1) };
    const path = await changed('tied-only-head', (tensors) => [
      ...tensors.map((tensor) => ({ ...tensor, name: `model.${tensor.name}` })),
      outside,
    ]);
    expect((await rejection(path)).code).toBe('MODEL_TENSOR_MISSING');
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

  // As transformers writes them, see make_models.py: quant_method is not among the first fields.
  const descriptions = JSON.parse(readFileSync(casePath('models/quantization.json'), 'utf8')) as Record<string, Json>;
  it.each(Object.entries(descriptions))('of %s is named, as transformers describes it', async (method, description) => {
    const { code, text } = await rejection(
      await changed('tied-equal-head', first('.x'), { quantization_config: description }),
    );
    expect(code).toBe('MODEL_QUANTIZED');
    expect(text).toContain(`quantization_config of ${method.replace(/_[48]bit$/, '')}`);
  });

  it('of bitnet is named, although its weights are not quantised before they are used', async () => {
    const config = { quantization_config: { quant_method: 'bitnet', linear_class: 'autobitlinear' } };
    const { code, text } = await rejection(await changed('tied-equal-head', none, config));
    expect(code).toBe('MODEL_QUANTIZED');
    expect(text).toContain('bitnet');
  });

  // Element types of the safetensors format, and the bytes of four elements.
  it.each([
    ['F8_E8M0', 4],
    ['F8_E4M3FNUZ', 4],
    ['F4', 2],
    ['F6_E2M3', 3],
  ])('with tensors of the type %s is named', async (dtype, length) => {
    const path = await changed('tied-equal-head', none, { quantization_config: { quant_method: 'mxfp8' } });
    const file = join(path, 'model.safetensors');
    const bytes = await readFile(file);
    const headerLength = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength)) as Record<string, object>;
    const at = bytes.length - 8 - headerLength;
    header['model.norm.scale'] = { dtype, shape: [4], data_offsets: [at, at + length] };
    const written = Buffer.from(JSON.stringify(header));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(written.length));
    await writeFile(file, Buffer.concat([size, written, bytes.subarray(8 + headerLength), Buffer.alloc(length)]));
    const { code, text } = await rejection(path);
    expect(code).toBe('MODEL_QUANTIZED');
    expect(text).toContain('quantization_config of mxfp8');
  });

  it('without safetensors, as torchao writes it, is named', async () => {
    const path = await changed('tied-equal-head', none, { quantization_config: { quant_method: 'torchao' } });
    await rm(join(path, 'model.safetensors'));
    await writeFile(join(path, 'pytorch_model.bin'), '');
    const { code, text } = await rejection(path);
    expect(code).toBe('MODEL_QUANTIZED');
    expect(text).toContain('quantization_config of torchao');
  });

  it('whose weights are not quantised is read, and saved without the description', async () => {
    const path = await changed('tied-only-head', none, { quantization_config: { quant_method: 'fp8' } });
    expect(await expectLogits(path, 'tied-only-head')).toEqual([expect.stringContaining('not quantised')]);
    const model = await loadLanguageModel(path);
    expect(model.config).not.toHaveProperty('quantization_config');
    model.dispose();
  });
});
