import { mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError } from '../contract/index.js';
import { openSafetensors, openWeights, writeSafetensors, writeWeights, type TensorToWrite } from './index.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-safetensors-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes a file with the given header text and `dataBytes` zero bytes after it. */
async function fileWithHeader(
  name: string,
  header: string,
  dataBytes: number,
  claimedLength = header.length,
): Promise<string> {
  const file = join(folder, name);
  const bytes = new Uint8Array(8 + header.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(claimedLength), true);
  bytes.set(new TextEncoder().encode(header), 8);
  await writeFile(file, bytes);
  return file;
}

async function rejection(promise: Promise<unknown>): Promise<{ code: string; text: string }> {
  try {
    await promise;
  } catch (error) {
    if (isWhetstoneError(error)) return { code: error.code, text: error.toString() };
    throw error;
  }
  throw new Error('was expected to be rejected');
}

describe('safetensors', () => {
  const values = new Float32Array([
    0,
    -0,
    1,
    -2.5,
    65_504,
    65_520,
    1e-8,
    5.960464477539063e-8,
    3.0e-5,
    1.00048828125,
    1.0014648,
    Infinity,
    NaN,
    0.1,
  ]);

  it('writes and reads every weight dtype', async () => {
    const file = join(folder, 'dtypes.safetensors');
    const tensors: TensorToWrite[] = [
      { name: 'u8', dtype: 'U8', shape: [3], data: new Uint8Array([1, 2, 255]) },
      { name: 'f32', dtype: 'F32', shape: [2, 7], data: values },
      { name: 'f16', dtype: 'F16', shape: [values.length], data: async () => values },
      { name: 'bf16', dtype: 'BF16', shape: [values.length], data: () => values },
      { name: 'i64', dtype: 'I64', shape: [2], data: new BigInt64Array([-5n, 7n]) },
      { name: 'empty', dtype: 'F32', shape: [0, 4], data: new Float32Array(0) },
    ];
    await writeSafetensors(file, tensors, { format: 'pt', note: 'ü' });
    const reader = await openSafetensors(file);
    expect(reader.metadata).toEqual({ format: 'pt', note: 'ü' });
    expect(await reader.readFloat32('f32')).toEqual(values);
    // IEEE binary16 of the values above: ties to even, overflow to infinity, subnormals in steps of 2^-24.
    expect([...(await reader.readFloat32('f16'))]).toEqual([
      0,
      -0,
      1,
      -2.5,
      65_504,
      Infinity,
      0,
      2 ** -24,
      503 * 2 ** -24,
      1,
      1.001953125,
      Infinity,
      NaN,
      0.0999755859375,
    ]);
    // bfloat16 keeps the exponent and 8 significant bits.
    expect([...(await reader.readFloat32('bf16'))]).toEqual([
      0,
      -0,
      1,
      -2.5,
      65_536,
      65_536,
      1.0011717677116394e-8,
      2 ** -24,
      3.0040740966796875e-5,
      1,
      1,
      Infinity,
      NaN,
      0.10009765625,
    ]);
    expect(await reader.read('u8')).toEqual(new Uint8Array([1, 2, 255]));
    expect(await reader.read('i64')).toEqual(new BigInt64Array([-5n, 7n]));
    expect([...(await reader.readFloat32('i64'))]).toEqual([-5, 7]);
    expect((await reader.readFloat32('empty')).length).toBe(0);
    expect((await rejection(reader.read('none'))).code).toBe('MODEL_TENSOR_MISSING');
    await reader.close();
  });

  it('rejects invalid headers', async () => {
    const cases: [string, string, number, string, number?][] = [
      ['long', '{}', 0, 'length of the header is too large', 2 ** 40],
      ['text', 'hello', 0, 'not JSON'],
      ['list', '[]', 0, 'not a JSON object'],
      ['dtype', '{"a":{"dtype":"F12","shape":[1],"data_offsets":[0,4]}}', 4, 'dtype "F12" is unknown'],
      ['shape', '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', 4, 'not a list of sizes'],
      ['size', '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', 4, 'requires 8 bytes'],
      [
        'huge',
        '{"a":{"dtype":"F32","shape":[9007199254740991,9007199254740991],"data_offsets":[0,4]}}',
        4,
        'too large',
      ],
      ['range', '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 4, 'beyond the end'],
      [
        'overlap',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
        6,
        'overlaps a',
      ],
      ['gap', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', 8, 'unused bytes'],
      ['tail', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 8, 'longer than its tensors'],
    ];
    for (const [name, header, dataBytes, message, claimed] of cases) {
      const file = await fileWithHeader(`${name}.safetensors`, header, dataBytes, claimed);
      const { code, text } = await rejection(openSafetensors(file));
      expect(code).toBe('SAFETENSORS_INVALID');
      expect(text).toContain(message);
      expect(text).toContain(`${name}.safetensors`);
    }
    const short = join(folder, 'short.safetensors');
    await writeFile(short, 'abc');
    expect((await rejection(openSafetensors(short))).text).toContain('too short');
    expect((await rejection(openSafetensors(join(folder, 'none')))).code).toBe('FILE_NOT_FOUND');
  });

  it('reports a truncated file with the affected tensor', async () => {
    const file = join(folder, 'cut.safetensors');
    await writeSafetensors(file, [{ name: 'model.norm.weight', dtype: 'F32', shape: [4], data: new Float32Array(4) }]);
    await truncate(file, (await readFile(file)).byteLength - 4);
    const { code, text } = await rejection(openSafetensors(file));
    expect(code).toBe('SAFETENSORS_INVALID');
    expect(text).toContain('model.norm.weight');
  });

  it('writes shards with an index and reads them like one file', async () => {
    const model = await mkdtemp(join(folder, 'sharded-'));
    const tensors = Array.from({ length: 5 }, (_, i): TensorToWrite => ({
      name: `t${i}`,
      dtype: 'F32',
      shape: [4],
      data: new Float32Array(4).fill(i),
    }));
    await writeWeights(model, tensors, { maxShardBytes: 40 });
    expect((await readdir(model)).sort()).toEqual([
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
      'model.safetensors.index.json',
    ]);
    const reader = await openWeights(model);
    expect([...reader.tensors.keys()]).toEqual(tensors.map((tensor) => tensor.name));
    expect([...(await reader.readFloat32('t3'))]).toEqual([3, 3, 3, 3]);
    await reader.close();
    await writeFile(
      join(model, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: { t9: 'model-00001-of-00003.safetensors' } }),
    );
    expect((await rejection(openWeights(model))).text).toContain('t9');
    await writeFile(
      join(model, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: { t1: '../elsewhere.safetensors' } }),
    );
    expect((await rejection(openWeights(model))).text).toContain('not a file name');
  });

  it('leaves no file if data does not match its shape or a tensor is invalid', async () => {
    const target = await mkdtemp(join(folder, 'incomplete-'));
    const file = join(target, 'model.safetensors');
    const mismatch = rejection(
      writeSafetensors(file, [{ name: 'a', dtype: 'F32', shape: [3], data: new Float32Array(2) }]),
    );
    expect((await mismatch).text).toContain('12 bytes');
    const twice: TensorToWrite = { name: 'a', dtype: 'F32', shape: [1], data: new Float32Array(1) };
    expect((await rejection(writeSafetensors(file, [twice, twice]))).code).toBe('SAFETENSORS_INVALID');
    expect(await readdir(target)).toEqual([]);
    expect((await rejection(openWeights(target))).code).toBe('MODEL_NOT_FOUND');
  });
});
