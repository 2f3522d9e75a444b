import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openWeights } from '@whetstone/core/safetensors';
import { importGguf, loadModel } from '@whetstone/models';
import { goldenPath, readGolden } from '../support/golden.js';
import { useBackend } from '../support/backend.js';
import { modelAsGguf } from '../support/model-as-gguf.js';
import {
  forwardInputOf,
  largestDifference,
  readTensorFile,
  unmasked,
  type LabelledRows,
} from '../support/model-numbers.js';

// Writes small golden models as GGUF, imports them, and compares their logits with those of PyTorch. This checks names,
// row orders and config.json. llama3-rope is omitted: GGUF cannot represent its original context of 32 positions.
const models = ['llama', 'llama-tied', 'llama-bias', 'mistral', 'qwen2', 'qwen3', 'phi3', 'gemma2', 'gemma3', 'gpt2'];

let folder: string;
beforeAll(async () => {
  await useBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'whetstone-import-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(models)('%s', (name) => {
  it('has the same logits after the import', async () => {
    const fixture = readGolden<LabelledRows & { readonly tolerance: { readonly logits_abs: number } }>(
      'models',
      name,
      'golden.json',
    );
    const original = goldenPath('models', name);
    const file = join(folder, `${name}.gguf`);
    await writeFile(file, await modelAsGguf(original));
    const report = await importGguf(file, join(folder, name));
    expect(report.dtype).toBe('float32');

    const [ours, theirs] = [await openWeights(join(folder, name)), await openWeights(original)];
    expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort());
    for (const tensor of theirs.tensors.keys())
      expect(
        largestDifference(await ours.readFloat32(tensor), await theirs.readFloat32(tensor)),
        tensor,
      ).toBeLessThanOrEqual(name.startsWith('gemma') ? 1e-6 : 0);
    await ours.close();
    await theirs.close();

    const { model } = await loadModel(join(folder, name));
    const rows = fixture.input_ids.length;
    const length = fixture.input_ids[0]?.length ?? 0;
    const golden = await readTensorFile(join(original, 'logits.safetensors'));
    const logits = tf.tidy(() =>
      model
        .logits(
          forwardInputOf(fixture),
          Int32Array.from({ length: rows * length }, (_, position) => position),
        )
        .dataSync(),
    );
    const expected = golden.get('logits');
    if (expected === undefined) throw new Error('the fixture holds no logits');
    const width = model.vocabularySize;
    expect(
      largestDifference(
        unmasked(logits, fixture.attention_mask, width),
        unmasked(expected.dataSync(), fixture.attention_mask, width),
      ),
    ).toBeLessThanOrEqual(fixture.tolerance.logits_abs);
    model.dispose();
    for (const tensor of golden.values()) tensor.dispose();
  });
});
