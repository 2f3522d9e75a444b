import { expect, test } from 'vitest';
import type { DataTransform, Logger } from '@whetstone/core/contract';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { chat, sourceOf } from '../testing/sources.js';
import { createDeduplicateTransform } from '../transforms/index.js';
import { createBatchSourceFactory } from './factory.js';
import { defaultBatchOptions } from './options.js';

function recorder(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const log = (level: string) => (message: string) => void lines.push(`${level}: ${message}`);
  return { logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }, lines };
}

const dependencies = { tokenizer: characterTokenizer, renderer: plainRenderer };

test('sends conversations through the transforms, tells what they did, and leaves a manifest', async () => {
  const { logger, lines } = recorder();
  const source = await createBatchSourceFactory().create(
    sourceOf([chat('a', '1'), chat('a', '1'), chat('b', '2')]),
    { ...dependencies, logger, transforms: [createDeduplicateTransform()] },
    { ...defaultBatchOptions, purpose: 'train' },
  );
  expect(source.summary.conversations).toBe(2);
  expect(lines).toEqual([expect.stringMatching(/^info: train data: 2 of 2 conversations/), 'info: train data: deduplicate: 3 in, 2 out; removed 1 exact-duplicate']);
  expect(source.summary.manifest).toMatchObject({ format: 1, counts: { conversations: 2 }, transforms: [{ name: 'deduplicate' }] });
});

test('evaluation data goes past what is for training data alone', async () => {
  const { logger } = recorder();
  const nothing: DataTransform = {
    trainOnly: true,
    async *transform() {},
  };
  const create = (purpose: 'train' | 'eval') => createBatchSourceFactory().create(sourceOf([chat('a', '1')]), { ...dependencies, logger, transforms: [nothing] }, { ...defaultBatchOptions, purpose });
  expect((await create('eval')).summary.conversations).toBe(1);
  await expect(create('train')).rejects.toMatchObject({ code: 'DATA_EMPTY' });
});

test('evaluation data in the training data: an error or a warning', async () => {
  const { logger, lines } = recorder();
  const factory = createBatchSourceFactory();
  const create = (conversations: Parameters<typeof sourceOf>[0], purpose: 'train' | 'eval') => factory.create(sourceOf(conversations), { ...dependencies, logger }, { ...defaultBatchOptions, purpose });
  const [train, evaluation, other] = [await create([chat('a', '1'), chat('b', '2')], 'train'), await create([chat('B!', '2')], 'eval'), await create([chat('c', '3')], 'eval')];
  lines.length = 0;
  expect(() => factory.checkLeakage?.(train, evaluation, { policy: 'error', logger })).toThrow(expect.objectContaining({ code: 'DATA_LEAKAGE', problems: [{ message: 'is memory.jsonl:1', place: { file: 'memory.jsonl', line: 2 } }] }));
  factory.checkLeakage?.(train, evaluation, { policy: 'warn', logger });
  factory.checkLeakage?.(train, other, { policy: 'error', logger });
  expect(lines).toEqual([expect.stringMatching(/^warn: 1 conversations of the training data are also in the evaluation data/)]);
});
