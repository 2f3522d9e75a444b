import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@tensorflow/tfjs-backend-cpu';
import { evaluate } from '@whetstone/core/training';
import type { Conversation } from '@whetstone/core/contract';
import { createBatchSource } from '@whetstone/data';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLossMeter } from './loss-meter.js';
import { openModel, type OpenModel } from './open-model.js';
import { createTinyModel } from './tiny-model.js';

let folder: string;
let opened: OpenModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-losses-'));
  await createTinyModel(folder, { seed: 5 });
  opened = await openModel(folder, { backend: 'cpu' });
});
afterAll(async () => {
  opened.dispose();
  await rm(folder, { recursive: true, force: true });
});

const conversations = [
  'yes',
  'a longer answer',
  '',
  'no, never',
  'the longest answer of all of them, by far',
  'x',
  'yy',
  'zzz',
  'last of nine',
].map((content, index): Conversation => ({
  form: 'chat',
  messages: [
    { role: 'user', content: `q${index}` },
    { role: 'assistant', content, ...(content === '' ? { train: false } : {}) },
  ],
  origin: { index },
}));

test('the loss of a conversation equals that of an evaluation of this conversation only', async () => {
  const losses = await createLossMeter(opened, 1024)(conversations);
  expect(losses[2]).toBeNull();
  for (const [index, conversation] of conversations.entries()) {
    if (index === 2) continue;
    const data = await createBatchSource({
      source: { conversations: () => [conversation], unreadable: [], files: [] },
      tokenizer: opened.tokenizer,
      renderer: opened.renderer,
      options: { supervisionProof: 'off' },
    });
    const alone = await evaluate(
      { model: opened.model, data, backend: opened.backend, clock: { now: () => 0, timestamp: () => '' } },
      { step: 0, epoch: 0 },
    );
    expect(losses[index]).toBeCloseTo(alone?.loss ?? NaN, 4);
  }
});
