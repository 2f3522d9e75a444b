import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isWhetstoneError, type AdapterFiles, type LanguageModel } from '@whetstone/core/contract';
import { loadLanguageModel } from '@whetstone/models';
import { loadAdapter, mergeAdapter, readAdapterFolder } from '@whetstone/strategies';
import { goldenPath } from '../support/golden.js';

let model: LanguageModel;
beforeAll(async () => {
  await tf.setBackend('cpu');
  model = await loadLanguageModel(goldenPath('models', 'llama'));
});
afterAll(() => model.dispose());

/** Returns the text of the error with which a promise is rejected; null if it is not. */
const rejection = async (work: () => unknown): Promise<string | null> => {
  try {
    await work();
    return null;
  } catch (error) {
    if (isWhetstoneError(error)) return error.toString();
    throw error;
  }
};

describe('an adapter of PEFT whose initialisation changed the base', () => {
  const folder = goldenPath('peft', 'lora-llama');
  const withInitialisation = async (value: string | boolean, use: (files: AdapterFiles) => unknown): Promise<void> => {
    const files = await readAdapterFolder(folder);
    try {
      await use({ ...files, config: { ...(files.config as object), init_lora_weights: value } });
    } finally {
      files.dispose();
    }
  };

  it.each(['pissa', 'pissa_niter_4', 'olora', 'OLoRA', 'corda', 'loftq', 'lora_ga'])(
    '%s is refused by name',
    async (value) => {
      await withInitialisation(value, async (files) => {
        for (const work of [() => loadAdapter(model, files), () => mergeAdapter(model, files)]) {
          const text = await rejection(work);
          expect(text).toContain('[ADAPTER_INVALID]');
          expect(text).toContain('init_lora_weights');
          expect(text).toContain(value);
        }
      });
    },
  );

  it.each([true, false, 'gaussian', 'eva', 'orthogonal', 'mica'])(
    '%s is read: PEFT leaves the base as it is',
    async (value) => {
      await withInitialisation(value, async (files) => (await loadAdapter(model, files)).dispose());
    },
  );
});
