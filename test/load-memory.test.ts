import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WhetstoneBackend } from '@whetstone/backend/internal';
import type { WeightStorage } from '@whetstone/core/contract';
import { backend as currentBackend } from '@tensorflow/tfjs-core';
import { createRandomModel, loadLanguageModel, saveModelFolder } from '@whetstone/models';
import { storageOf } from '@whetstone/core/ops';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testBackends, useBackend } from './support/backend.js';

const isThere = (await testBackends()).includes('whetstone');

/** 16.8 million parameters, of which the embedding and the head are 4.2 each. */
const config = {
  model_type: 'llama',
  vocab_size: 8192,
  hidden_size: 512,
  intermediate_size: 1024,
  num_hidden_layers: 4,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  hidden_act: 'silu',
  initializer_range: 0.02,
};
const parameters = 2 * 8192 * 512 + 4 * (512 * 512 * 2 + 256 * 512 * 2 + 3 * 512 * 1024 + 2 * 512) + 512;
const matrices = parameters - 9 * 512;
const MiB = 2 ** 20;

/** Counts the bytes of typed arrays that get memory of their own; views of other memory count nothing. */
function countArrays(): { bytes(): number; stop(): void } {
  const kinds = ['Float32Array', 'Uint8Array', 'Uint16Array', 'Uint32Array'] as const;
  const originals = kinds.map((kind) => [kind, globalThis[kind]] as const);
  let bytes = 0;
  for (const [kind, original] of originals) {
    Object.assign(globalThis, {
      [kind]: new Proxy(original, {
        construct(target, parameters, made) {
          const array = Reflect.construct(target, parameters, made) as Uint8Array;
          if (!(parameters[0] instanceof ArrayBuffer)) bytes += array.byteLength;
          return array;
        },
      }),
    });
  }
  return { bytes: () => bytes, stop: () => void Object.assign(globalThis, Object.fromEntries(originals)) };
}

describe.skipIf(!isThere)('loading a model', () => {
  let root: string;
  let folder: string;
  beforeAll(async () => {
    await useBackend('cpu');
    root = await mkdtemp(join(tmpdir(), 'whetstone-load-'));
    folder = join(root, 'model');
    const model = createRandomModel(config, 1);
    await saveModelFolder(model, folder, { copyFrom: null });
    await saveModelFolder(model, `${folder}-bf16`, { copyFrom: null, dtype: 'BF16' });
    model.dispose();
    await useBackend('whetstone');
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  /** Loads, and measures what the device holds and the bytes of all numeric arrays that were made on the way. */
  async function measure(
    path: string,
    storage: WeightStorage | null,
  ): Promise<{ readonly device: number; readonly host: number; readonly formats: ReadonlySet<string> }> {
    const device = currentBackend() as WhetstoneBackend;
    const before = device.counters().deviceBytes;
    const counting = countArrays();
    const model = await loadLanguageModel(path, { storage }).finally(counting.stop);
    const result = {
      device: device.counters().deviceBytes - before,
      host: counting.bytes(),
      formats: new Set([...model.parameters.values()].map((parameter) => storageOf(parameter).format)),
    };
    model.dispose();
    expect(device.counters().deviceBytes).toBe(before);
    return result;
  }

  it('reads float32 to where it stays: no copy of a matrix on the host', async () => {
    const { device, host } = await measure(folder, null);
    expect(device).toBe(4 * parameters);
    // The largest matrix has 16 MiB.
    expect(host).toBeLessThan(2 * MiB);
  });

  it('keeps bfloat16 as it is in the file, and nothing on the host', async () => {
    const { device, host, formats } = await measure(`${folder}-bf16`, () => 'stored');
    expect(device).toBe(2 * matrices + 4 * (parameters - matrices));
    expect(host).toBeLessThan(2 * MiB);
    expect(formats).toEqual(new Set(['bfloat16', 'float32']));
  });
});
