import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { goldenPath } from '../support/golden.js';
import { modelAsGguf } from '../support/model-as-gguf.js';
import { parseHeader, type GgufValue } from '../../packages/models/src/gguf/header.js';
import { importGguf } from '../../packages/models/src/gguf/import-gguf.js';
import { readMetadata } from '../../packages/models/src/gguf/metadata.js';
import { createConfig } from '../../packages/models/src/gguf/model-config.js';
import { float32Bytes, writeGguf } from '../../packages/models/src/gguf/testing/write-gguf.js';

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-import-'));
  file = join(folder, 'model.gguf');
  await writeFile(file, await modelAsGguf(goldenPath('models', 'llama')));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const leftovers = async (): Promise<string[]> => (await readdir(folder)).filter((name) => name.endsWith('.partial'));

describe('importGguf', () => {
  it('writes a whole folder, in the dtype that is asked for, and tells how it goes', async () => {
    const seen: number[] = [];
    const report = await importGguf(file, join(folder, 'half'), {
      dtype: 'float16',
      onProgress: ({ done }) => seen.push(done),
    });
    expect(report).toMatchObject({ architecture: 'llama', dtype: 'float16', tensors: seen.length });
    expect((await readdir(join(folder, 'half'))).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'manifest.json',
      'model.safetensors',
      'special_tokens_map.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(JSON.parse(await readFile(join(folder, 'half', 'generation_config.json'), 'utf8'))).toEqual({
      bos_token_id: 1,
      eos_token_id: 2,
      pad_token_id: 0,
    });
    expect(report.notes.join(' ')).toMatch(/does not contain a chat template/);
  });

  it('leaves a folder that holds something alone', async () => {
    await mkdir(join(folder, 'full'));
    await writeFile(join(folder, 'full', 'thesis.tex'), 'x');
    await expect(importGguf(file, join(folder, 'full'))).rejects.toMatchObject({ code: 'OUTPUT_EXISTS' });
    await expect(importGguf(file, file)).rejects.toMatchObject({ code: 'OUTPUT_EXISTS' });
    expect(await readdir(join(folder, 'full'))).toEqual(['thesis.tex']);
  });

  it('takes an empty folder', async () => {
    await mkdir(join(folder, 'empty'));
    await importGguf(file, join(folder, 'empty'));
    expect((await readdir(join(folder, 'empty'))).length).toBeGreaterThan(4);
  });

  it('leaves nothing behind when it is interrupted', async () => {
    const controller = new AbortController();
    const run = importGguf(file, join(folder, 'stopped'), {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await leftovers()).toEqual([]);
    await expect(readdir(join(folder, 'stopped'))).rejects.toThrow();
  });

  it.each<[string, Record<string, GgufValue>, readonly { readonly name: string; readonly type?: number }[], string]>([
    [
      'an unknown architecture',
      { 'general.architecture': 'mamba' },
      [{ name: 'token_embd.weight' }],
      'GGUF_UNSUPPORTED',
    ],
    ['no architecture', {}, [], 'GGUF_INVALID'],
    [
      'a tensor that nobody knows',
      { 'general.architecture': 'llama' },
      [{ name: 'blk.0.ffn_gate_exps.weight' }],
      'GGUF_UNSUPPORTED',
    ],
    [
      'a type that cannot be read',
      { 'general.architecture': 'llama' },
      [{ name: 'token_embd.weight', type: 16 }],
      'GGUF_UNSUPPORTED',
    ],
    ['one file of several', { 'general.architecture': 'llama', 'split.count': 2 }, [], 'GGUF_UNSUPPORTED'],
    ['missing numbers', { 'general.architecture': 'llama' }, [{ name: 'token_embd.weight' }], 'GGUF_INVALID'],
  ])('refuses %s before it writes', async (name, metadata, tensors, code) => {
    const bad = join(folder, 'bad.gguf');
    await writeFile(
      bad,
      writeGguf(
        metadata,
        tensors.map((tensor) =>
          tensor.type === undefined
            ? { ...tensor, shape: [2, 2], bytes: float32Bytes([1, 2, 3, 4]) }
            : { ...tensor, shape: [1, 256], bytes: new Uint8Array(66) },
        ),
      ),
    );
    await expect(importGguf(bad, join(folder, name))).rejects.toMatchObject({ code });
    await expect(readdir(join(folder, name))).rejects.toThrow();
    expect(await leftovers()).toEqual([]);
  });
});

describe('rotary scaling', () => {
  const numbers = {
    'llama.block_count': 1,
    'llama.context_length': 131_072,
    'llama.embedding_length': 128,
    'llama.feed_forward_length': 8,
    'llama.attention.head_count': 2,
    'llama.attention.layer_norm_rms_epsilon': 1e-5,
    'llama.rope.freq_base': 500_000,
  };
  const configOf = (factors: ReadonlyMap<string, Float32Array>, more: Record<string, GgufValue> = {}): unknown => {
    const bytes = writeGguf({ 'general.architecture': 'llama', ...numbers, ...more }, [
      { name: 'token_embd.weight', shape: [3, 4], bytes: new Uint8Array(48) },
    ]);
    const header = parseHeader({ file: 'm.gguf', bytes, fileBytes: bytes.length });
    return createConfig({
      file: 'm.gguf',
      header,
      metadata: readMetadata('m.gguf', header),
      factors,
      dtype: 'float32',
      tiesHead: true,
    })['rope_scaling'];
  };
  /** Llama 3's rule as Meta published it: wavelengths above 8192 / 1 are stretched, those below 8192 / 4 are not. */
  const llama3 = (factor: number): Float32Array =>
    Float32Array.from({ length: 32 }, (_, pair) => {
      const wavelength = 2 * Math.PI * 500_000 ** ((2 * pair) / 64);
      if (wavelength < 8192 / 4) return 1;
      if (wavelength > 8192) return factor;
      const smooth = (8192 / wavelength - 1) / 3;
      return 1 / ((1 - smooth) / factor + smooth);
    });

  it('of Llama 3 is found again from its divisors', () => {
    expect(configOf(new Map([['rope_freqs.weight', llama3(8)]]))).toEqual({
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
  });

  it('that follows no known rule is refused', () => {
    expect(() => configOf(new Map([['rope_freqs.weight', llama3(8).map((value) => value * 1.1)]]))).toThrow(
      /scaling rule/,
    );
  });

  it('linear and yarn are read from metadata', () => {
    expect(configOf(new Map(), { 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 4 })).toEqual({
      rope_type: 'linear',
      factor: 4,
    });
    expect(
      configOf(new Map(), {
        'llama.rope.scaling.type': 'yarn',
        'llama.rope.scaling.factor': 4,
        'llama.rope.scaling.original_context_length': 4096,
      }),
    ).toEqual({ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 4096 });
    expect(configOf(new Map())).toBeUndefined();
  });
});
