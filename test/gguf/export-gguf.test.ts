import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openWeights } from '@whetstone/core/safetensors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportGguf } from '../../packages/models/src/gguf/export-gguf.js';
import { exportTypes, typeOfWeight } from '../../packages/models/src/gguf/export-types.js';
import { importGguf } from '../../packages/models/src/gguf/import-gguf.js';
import { goldenPath } from '../support/golden.js';
import { modelAsGguf } from '../support/model-as-gguf.js';

const names = ['llama', 'mistral', 'qwen2', 'qwen3', 'phi3', 'gemma2', 'gemma3', 'gpt2'];

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'whetstone-export-'));
  for (const name of names) {
    const file = join(root, `${name}.gguf`);
    await writeFile(file, await modelAsGguf(goldenPath('models', name)));
    await importGguf(file, join(root, name), { dtype: 'float32' });
  }
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Returns the weights of a model folder, by name in order. */
async function weightsOf(folder: string): Promise<ReadonlyMap<string, Float32Array>> {
  const reader = await openWeights(folder);
  const weights = new Map<string, Float32Array>();
  for (const name of [...reader.tensors.keys()].toSorted()) weights.set(name, await reader.readFloat32(name));
  await reader.close();
  return weights;
}

describe('exportGguf', () => {
  it.each(names)('writes %s so that an import gives the same folder', async (name) => {
    const file = join(root, `${name}-exported.gguf`);
    const seen: number[] = [];
    const report = await exportGguf(join(root, name), file, {
      type: 'F32',
      onProgress: ({ done }) => seen.push(done),
    });
    expect(report.types).toEqual({ F32: seen.length });
    await importGguf(file, join(root, `${name}-again`), { dtype: 'float32' });
    for (const part of (await readdir(join(root, name))).filter((each) => each !== 'manifest.json'))
      if (part.endsWith('.json'))
        expect(await readFile(join(root, `${name}-again`, part), 'utf8'), part).toBe(
          await readFile(join(root, name, part), 'utf8'),
        );
    expect(await weightsOf(join(root, `${name}-again`))).toEqual(await weightsOf(join(root, name)));
  });

  it.each(exportTypes)('writes %s with an error that its bits allow', async (type) => {
    const file = join(root, `${type}.gguf`);
    await exportGguf(join(root, 'llama'), file, { type });
    await importGguf(file, join(root, type), { dtype: 'float32' });
    const [exact, stored] = [await weightsOf(join(root, 'llama')), await weightsOf(join(root, type))];
    let [error, size] = [0, 0];
    for (const [name, values] of exact)
      for (const [i, value] of values.entries()) {
        error += (value - (stored.get(name)?.[i] ?? NaN)) ** 2;
        size += value ** 2;
      }
    // A step of b bits over a range of about six standard deviations has an error of 6 / 2^b / √12 of them.
    const bits = type === 'F32' ? 24 : Number(/\d/.exec(type)?.[0] ?? 8);
    const most = type === 'F32' ? 0 : type.endsWith('16') ? 2 ** -8 : 6 / 2 ** bits / Math.sqrt(12);
    expect(Math.sqrt(error / size)).toBeLessThanOrEqual(most);
  });

  it('leaves a file that exists alone, and nothing behind when it is interrupted', async () => {
    const file = join(root, 'mine.gguf');
    await writeFile(file, 'mine');
    await expect(exportGguf(join(root, 'llama'), file, { type: 'F16' })).rejects.toMatchObject({
      code: 'OUTPUT_EXISTS',
    });
    expect(await readFile(file, 'utf8')).toBe('mine');
    const controller = new AbortController();
    const run = exportGguf(join(root, 'llama'), join(root, 'stopped.gguf'), {
      type: 'F16',
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(run).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect((await readdir(root)).filter((name) => /stopped|partial/.test(name))).toEqual([]);
  });

  it('refuses a tokenizer that GGUF cannot describe', async () => {
    const file = join(root, 'llama', 'tokenizer.json');
    const written = await readFile(file, 'utf8');
    try {
      const other = { ...(JSON.parse(written) as object), pre_tokenizer: { type: 'Whitespace' } };
      await writeFile(file, JSON.stringify(other));
      await expect(exportGguf(join(root, 'llama'), join(root, 'no.gguf'), { type: 'F16' })).rejects.toMatchObject({
        code: 'GGUF_UNSUPPORTED',
      });
    } finally {
      await writeFile(file, written);
    }
  });
});

describe('typeOfWeight', () => {
  const model = { layers: 32, tiedHead: true };
  // Rows of llama.cpp's quantiser for a model with rows of 4096 and 576.
  it.each([
    ['Q4_K_M', 'blk.0.attn_q.weight', 4096, 'Q4_K'],
    ['Q4_K_M', 'blk.0.attn_v.weight', 4096, 'Q6_K'],
    ['Q4_K_M', 'blk.4.attn_v.weight', 4096, 'Q4_K'],
    ['Q4_K_M', 'blk.6.ffn_down.weight', 4096, 'Q6_K'],
    ['Q4_K_M', 'blk.28.ffn_down.weight', 4096, 'Q6_K'],
    ['Q4_K_S', 'blk.3.attn_v.weight', 4096, 'Q5_K'],
    ['Q4_K_S', 'blk.4.attn_v.weight', 4096, 'Q4_K'],
    ['Q5_K_M', 'blk.1.attn_qkv.weight', 4096, 'Q6_K'],
    ['Q4_K_M', 'blk.1.attn_q.weight', 576, 'Q5_0'],
    ['Q5_K_S', 'blk.1.attn_q.weight', 576, 'Q5_1'],
    ['Q6_K', 'blk.1.attn_q.weight', 576, 'Q8_0'],
    ['Q4_0', 'token_embd.weight', 4096, 'Q6_K'],
    ['Q4_0', 'token_embd.weight', 576, 'Q8_0'],
    ['Q8_0', 'blk.1.attn_q.weight', 100, 'F16'],
    ['Q8_0', 'blk.1.attn_norm.weight', 4096, 'F32'],
    ['F16', 'output_norm.weight', 4096, 'F32'],
  ] as const)('%s: %s with rows of %i is %s', (type, name, row, expected) => {
    expect(typeOfWeight(type, { name, shape: name.includes('norm') ? [row] : [8, row] }, model)).toBe(expected);
  });
});
