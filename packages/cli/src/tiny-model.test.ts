import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { loadLanguageModel, loadTokenizer } from '@whetstone/models';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTinyModel } from './tiny-model.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-tiny-'));
  await createTinyModel(join(folder, 'a'), { seed: 3 });
  await createTinyModel(join(folder, 'b'), { seed: 3 });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('its tokenizer encodes every text as bytes and decodes it again', async () => {
  const tokenizer = await loadTokenizer(join(folder, 'a'));
  const text = 'Hello, wörld 🙂\n\tquotes "and" so on';
  const ids = tokenizer.encode(text);
  expect(ids).toEqual([...Buffer.from(text)]);
  expect(tokenizer.decode(ids)).toBe(text);
  expect(tokenizer.encode('<|im_start|>user')).toEqual([257, ...Buffer.from('user')]);
  expect(tokenizer.eosTokenId).toBe(tokenizer.tokenId('<|im_end|>'));
});

test('it can be loaded, and the same seed gives the same model', async () => {
  await tf.setBackend('cpu');
  const model = await loadLanguageModel(join(folder, 'a'));
  expect(model.architecture).toBe('llama');
  model.dispose();
  const weights = (name: string): Promise<Buffer> => readFile(join(folder, name, 'model.safetensors'));
  expect((await weights('a')).equals(await weights('b'))).toBe(true);
});
