import '@tensorflow/tfjs-backend-cpu';
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError, type Json, type LanguageModel } from '@whetstone/core/contract';
import { temporaryName } from '@whetstone/core/files';
import { architectures, parameterShapes, readShape, type ArchitectureSpec } from './architectures/index.js';
import { loadLanguageModel } from './load-language-model.js';
import { loadModel } from './load-model.js';
import { createRandomModel } from './random-model.js';
import { writeWeights, type TensorToWrite } from '@whetstone/core/safetensors';
import { saveModelFolder } from './save-model.js';

const config: Record<string, Json> = {
  model_type: 'llama',
  vocab_size: 11,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  tie_word_embeddings: true,
};
const gpt2: Record<string, Json> = {
  model_type: 'gpt2',
  vocab_size: 11,
  n_embd: 8,
  n_head: 2,
  n_layer: 1,
  n_positions: 16,
};

let folder = '';
let model: LanguageModel;
beforeAll(async () => {
  await tf.setBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'whetstone-models-'));
  model = createRandomModel(config, 1);
});
afterAll(async () => {
  model.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function rejection(promise: Promise<unknown>): Promise<{ code: string; text: string }> {
  try {
    await promise;
  } catch (error) {
    if (isWhetstoneError(error)) return { code: error.code, text: error.toString() };
    throw error;
  }
  throw new Error('was expected to be rejected');
}

const valuesOf = (of: LanguageModel): Record<string, number[]> =>
  Object.fromEntries([...of.parameters].map(([name, variable]) => [name, [...variable.dataSync()]]));

describe('save and load', () => {
  it('restores the parameters from one file or several shards and copies the tokenizer', async () => {
    const source = await mkdtemp(join(folder, 'source-'));
    await writeFile(join(source, 'tokenizer.json'), '{}');
    await writeFile(join(source, 'README.md'), 'not copied');
    const before = tf.memory().numTensors;
    for (const [name, options] of [
      ['single', {}],
      ['shards', { maxShardBytes: 500 }],
    ] as const) {
      const out = join(folder, 'deep', name);
      await saveModelFolder(model, out, { copyFrom: source, ...options });
      const loaded = await loadLanguageModel(out);
      expect(valuesOf(loaded)).toEqual(valuesOf(model));
      expect([...loaded.parameters.values()].every((variable) => !variable.trainable)).toBe(true);
      expect(loaded.folder).toBe(out);
      loaded.dispose();
      const files = await readdir(out);
      expect(files).toContain('tokenizer.json');
      expect(files).not.toContain('README.md');
      expect(files.includes('model.safetensors')).toBe(name === 'single');
    }
    expect(tf.memory().numTensors).toBe(before);
    expect((await readdir(join(folder, 'deep'))).sort()).toEqual(['shards', 'single']);
  });

  it('writes half precision and replacements, and unties a replaced head', async () => {
    const out = join(folder, 'replaced');
    await mkdir(out);
    const head = tf.tensor2d(new Float32Array(88).fill(2), [11, 8]);
    const norm = tf.tensor1d(new Float32Array(8).fill(0.1));
    await saveModelFolder(model, out, {
      dtype: 'BF16',
      replaced: new Map<string, tf.Tensor>([
        ['lm_head.weight', head],
        ['model.norm.weight', norm],
      ]),
    });
    const written = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as Record<string, Json>;
    expect(written).toEqual({ ...config, tie_word_embeddings: false, torch_dtype: 'bfloat16' });
    const loaded = await loadLanguageModel(out);
    expect([...(loaded.parameters.get('lm_head.weight')?.dataSync() ?? [])].every((value) => value === 2)).toBe(true);
    expect(loaded.parameters.get('model.norm.weight')?.dataSync()[0]).toBe(0.10009765625); // 0.1 in bfloat16
    loaded.dispose();
    expect((await rejection(saveModelFolder(model, out))).code).toBe('OUTPUT_EXISTS');
    expect(
      (await rejection(saveModelFolder(model, join(folder, 'x'), { replaced: new Map([['nothing', head]]) }))).code,
    ).toBe('MODEL_TENSOR_UNKNOWN');
    expect(
      (await rejection(saveModelFolder(model, join(folder, 'x'), { replaced: new Map([['model.norm.weight', head]]) })))
        .code,
    ).toBe('MODEL_TENSOR_SHAPE');
    tf.dispose([head, norm]);
  });

  it('removes its files if it is interrupted, and those of a killed writer', async () => {
    const target = await mkdtemp(join(folder, 'interrupted-'));
    expect((await rejection(saveModelFolder(model, join(target, 'out'), { signal: AbortSignal.abort() }))).code).toBe(
      'INTERRUPTED',
    );
    expect(await readdir(target)).toEqual([]);
    const { pid } = spawnSync(process.execPath, ['--version']);
    await mkdir(temporaryName(join(target, 'out')).replace(`-${process.pid}-`, `-${pid}-`));
    await saveModelFolder(model, join(target, 'out'));
    expect(await readdir(target)).toEqual(['out']);
  });

  it('removes its files if it fails', async () => {
    const target = await mkdtemp(join(folder, 'fails-'));
    expect(
      (await rejection(saveModelFolder(model, join(target, 'out'), { copyFrom: join(folder, 'no such folder') }))).code,
    ).toBe('FILE_NOT_FOUND');
    expect(await readdir(target)).toEqual([]);
  });
});

describe('a model folder whose files do not match', () => {
  /** Writes a model folder with a config.json and `tensors`. */
  async function folderWith(json: Record<string, Json>, tensors: readonly TensorToWrite[]): Promise<string> {
    const target = await mkdtemp(join(folder, 'bad-'));
    await writeFile(join(target, 'config.json'), JSON.stringify(json));
    await writeWeights(target, tensors);
    return target;
  }
  const tensorsOf = (of: LanguageModel, rename = (name: string): string => name): TensorToWrite[] =>
    [...of.parameters].map(([name, variable]) => ({
      name: rename(name),
      dtype: 'F32',
      shape: variable.shape,
      data: variable.dataSync<'float32'>(),
    }));
  const extra = (name: string, shape: readonly number[] = [1]): TensorToWrite => ({
    name,
    dtype: 'F32',
    shape,
    data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
  });

  it('is rejected with a list of all missing, misshapen and unknown tensors', async () => {
    const all = tensorsOf(model);
    const wrong = all
      .filter(({ name }) => name !== 'model.norm.weight' && name !== 'model.layers.1.mlp.up_proj.weight')
      .map((tensor) =>
        tensor.name === 'model.layers.0.self_attn.k_proj.weight' ? extra(tensor.name, [3, 8]) : tensor,
      );
    const before = tf.memory().numTensors;
    const { code, text } = await rejection(
      loadLanguageModel(await folderWith(config, [...wrong, extra('model.layers.7.what.weight')])),
    );
    expect(code).toBe('MODEL_TENSOR_MISSING');
    for (const part of [
      '4 tensors',
      'model.norm.weight',
      'model.layers.1.mlp.up_proj.weight',
      'model.layers.0.self_attn.k_proj.weight',
      '[4, 8]',
      '[3, 8]',
      'model.layers.7.what.weight',
    ])
      expect(text).toContain(part);
    expect(tf.memory().numTensors).toBe(before);
    expect((await rejection(loadLanguageModel(await folderWith(config, [...all, extra('score.weight')])))).code).toBe(
      'MODEL_TENSOR_UNKNOWN',
    );
    const misshapen = all.map((tensor) => (tensor.name === 'model.norm.weight' ? extra(tensor.name, [9]) : tensor));
    expect((await rejection(loadLanguageModel(await folderWith(config, misshapen)))).code).toBe('MODEL_TENSOR_SHAPE');
  });

  it('is accepted with derived tensors, or without the prefix of the base model', async () => {
    const tied = await loadLanguageModel(
      await folderWith(config, [
        ...tensorsOf(model),
        ...tensorsOf(model)
          .filter(({ name }) => name === 'model.embed_tokens.weight')
          .map((tensor) => ({ ...tensor, name: 'lm_head.weight' })),
        extra('model.layers.0.self_attn.rotary_emb.inv_freq'),
      ]),
    );
    expect(valuesOf(tied)).toEqual(valuesOf(model));
    tied.dispose();
    const original = createRandomModel(gpt2, 3);
    const bare = await loadLanguageModel(
      await folderWith(gpt2, [
        ...tensorsOf(original, (name) => name.replace(/^transformer\./, '')),
        extra('h.0.attn.bias'),
      ]),
    );
    expect(valuesOf(bare)).toEqual(valuesOf(original));
    tf.dispose([...original.parameters.values(), ...bare.parameters.values()]);
  });

  it('is rejected if a file is missing or config.json is not JSON', async () => {
    const empty = await mkdtemp(join(folder, 'empty-'));
    expect((await rejection(loadLanguageModel(empty))).code).toBe('MODEL_NOT_FOUND');
    expect((await rejection(loadLanguageModel(join(folder, 'none')))).code).toBe('MODEL_NOT_FOUND');
    await writeFile(join(empty, 'config.json'), '{');
    expect((await rejection(loadLanguageModel(empty))).code).toBe('MODEL_CONFIG_INVALID');
    await writeFile(join(empty, 'config.json'), JSON.stringify(config));
    const { code, text } = await rejection(loadLanguageModel(empty));
    expect(code).toBe('MODEL_NOT_FOUND');
    expect(text).toContain('model.safetensors');
    await cp(join(empty, 'config.json'), join(empty, 'model.safetensors'));
    expect((await rejection(loadLanguageModel(empty))).code).toBe('SAFETENSORS_INVALID');
  });
});

describe('loadModel', () => {
  it('reports a missing model before a missing tokenizer', async () => {
    const empty = await mkdtemp(join(folder, 'nothing-'));
    expect((await rejection(loadModel(empty))).code).toBe('MODEL_NOT_FOUND');
    const file = join(empty, 'model.gguf');
    await writeFile(file, '');
    const { code, text } = await rejection(loadModel(file));
    expect(code).toBe('MODEL_NOT_FOUND');
    expect(text).toContain('`importGguf` of @whetstone/models');
  });

  it('reads model, tokenizer and template, and rejects a tokenizer of another model', async () => {
    const out = join(folder, 'with-tokenizer');
    await saveModelFolder(model, out);
    const vocabulary = Object.fromEntries([...'abcdefghij'].map((letter, id) => [letter, id]));
    const tokenizerWith = (end: number): string =>
      JSON.stringify({
        version: '1.0',
        added_tokens: [
          {
            id: end,
            content: '<end>',
            special: true,
            lstrip: false,
            rstrip: false,
            normalized: false,
            single_word: false,
          },
        ],
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: null,
        model: { type: 'BPE', vocab: vocabulary, merges: [] },
      });
    await writeFile(join(out, 'tokenizer.json'), tokenizerWith(10));
    await writeFile(
      join(out, 'tokenizer_config.json'),
      JSON.stringify({ eos_token: '<end>', chat_template: '{% for m in messages %}{{ m.content }}<end>{% endfor %}' }),
    );
    const loaded = await loadModel(out);
    expect(loaded.tokenizer.eosTokenId).toBe(10);
    expect(loaded.renderer.render([{ role: 'user', content: 'abc' }]).text).toBe('abc<end>');
    loaded.model.dispose();
    const before = tf.memory().numTensors;
    await writeFile(join(out, 'tokenizer.json'), tokenizerWith(11));
    expect((await rejection(loadModel(out))).code).toBe('TOKENIZER_INVALID');
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('a custom architecture', () => {
  it('is read with its record', async () => {
    const llama = architectures.get('llama');
    if (llama === undefined) throw new Error('llama is built in');
    const acme: ArchitectureSpec = {
      ...llama,
      modelType: 'acme',
      queryKeyNorm: true,
      biases: { ...llama.biases, queryKeyValue: true },
    };
    const target = await mkdtemp(join(folder, 'acme-'));
    const json = { ...config, model_type: 'acme' };
    await writeFile(join(target, 'config.json'), JSON.stringify(json));
    expect((await rejection(loadLanguageModel(target))).code).toBe('MODEL_ARCHITECTURE_UNKNOWN');
    const shape = readShape(json, 'config.json', new Map([['acme', acme]]));
    await writeWeights(
      target,
      parameterShapes(shape).map(({ name, shape: sizes }): TensorToWrite => ({
        name,
        dtype: 'F32',
        shape: sizes,
        data: new Float32Array(sizes.reduce((product, size) => product * size, 1)),
      })),
    );
    const loaded = await loadLanguageModel(target, { architectures: [acme] });
    expect(loaded.parameters.get('model.layers.0.self_attn.q_norm.weight')?.shape).toEqual([4]);
    expect(loaded.linearSites.get('model.layers.1.self_attn.k_proj')?.bias?.shape).toEqual([4]);
    loaded.dispose();
  });
});
