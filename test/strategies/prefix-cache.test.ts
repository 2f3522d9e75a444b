import * as tf from '@tensorflow/tfjs-core';
import type { LanguageModel } from '@whetstone/core/contract';
import { generateIds } from '@whetstone/models';
import { loadAdapter } from '@whetstone/strategies';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { batchOf } from '@whetstone/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testBackends, useBackend } from '../support/backend.js';
import { tinyModel } from '../support/training.js';

/** Returns the likeliest continuation; each token is computed from the complete text. */
function withoutCache(model: LanguageModel, prompt: readonly number[], count: number): number[] {
  const text = [...prompt];
  for (let step = 0; step < count; step++) {
    const batch = batchOf([{ ids: text, supervised: text.map(() => true) }]);
    text.push(tf.tidy(() => tf.argMax(model.logits(batch, Int32Array.of(text.length - 1)), 1).dataSync()[0] ?? -1));
  }
  return text.slice(prompt.length);
}

// The model has four query heads and two key/value heads.
describe.each(await testBackends())(
  'p-tuning-v2 with grouped-query attention and the key-value cache, on %s',
  (backend) => {
    let model: LanguageModel;
    beforeAll(async () => {
      await useBackend(backend);
      model = tinyModel(6);
    });
    afterAll(() => model.dispose());

    it.each([
      ['keys and values in every layer', { virtualTokens: 3 }],
      ['keys and values from an MLP', { virtualTokens: 3, projection: true, encoderHiddenSize: 6 }],
      ['virtual tokens at the input', { virtualTokens: 3, depth: 'input' }],
    ] as const)('%s', async (_, options) => {
      const prompts = [
        [1, 5, 9, 12],
        [3, 8],
        [7, 2, 4, 6, 11, 20],
      ];
      const attachment = await prefixStrategy(options).attach(model, { seed: 5, totalSteps: 1, modelFolder: null });
      for (const [index, variable] of [...attachment.trainable.values()].entries()) {
        const values = tf.randomNormal(variable.shape, 0, 1.5, 'float32', index + 1);
        variable.assign(values as tf.Tensor);
        values.dispose();
      }
      const generate = async (): Promise<number[][]> => {
        const rows = prompts.map((): number[] => []);
        for await (const { row, id } of generateIds(model, prompts, { maxNewTokens: 8 })) rows[row]?.push(id);
        return rows;
      };
      const expected = prompts.map((prompt) => withoutCache(model, prompt, 8));
      expect(await generate()).toEqual(expected);

      // The exported adapter, in which the MLP is replaced by its output, generates the same.
      const exported = attachment.exportAdapter?.();
      if (exported === undefined) throw new Error('no adapter');
      const files = {
        config: exported.config,
        tensors: new Map([...exported.tensors].map(([name, tensor]) => [name, tensor.clone()])),
      };
      attachment.dispose();
      expect(await generate(), 'the prefix does something').not.toEqual(expected);
      const loaded = await loadAdapter(model, files);
      expect(await generate()).toEqual(expected);
      loaded.dispose();
      tf.dispose([...files.tensors.values()]);
    });
  },
);
