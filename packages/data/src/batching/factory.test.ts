import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { BatchSource, DataTransform, Logger } from '@whetstone/core/contract';
import { characterTokenizer, plainRenderer, remakeHashed } from '../testing/fakes.js';
import { asLines, temporaryFolder, writeInto } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { createConversationSource } from '../sources/conversations.js';
import { createTurnTransform } from '../augment/transforms.js';
import { createDeduplicateTransform } from '../transforms/duplicates/transform.js';
import { createQualityTransform } from '../transforms/quality/transform.js';
import { createBatchSourceFactory } from './factory.js';
import { defaultBatchOptions } from './options.js';

function recorder(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const log = (level: string) => (message: string) => void lines.push(`${level}: ${message}`);
  return { logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }, lines };
}

const dependencies = { tokenizer: characterTokenizer, renderer: plainRenderer };

test('applies the transforms, logs what they did, and creates a manifest', async () => {
  const { logger, lines } = recorder();
  const source = await createBatchSourceFactory().create(
    sourceOf([chat('a', '1'), chat('a', '1'), chat('b', '2')]),
    { ...dependencies, logger, transforms: [createDeduplicateTransform()] },
    { ...defaultBatchOptions, purpose: 'train' },
  );
  expect(source.summary.conversations).toBe(2);
  expect(lines).toEqual([
    expect.stringMatching(/^info: train data: 2 of 2 conversations/),
    'info: train data: deduplicate: 3 in, 2 out; removed 1 exact-duplicate',
  ]);
  expect(source.summary.manifest).toMatchObject({
    format: 1,
    counts: { conversations: 2 },
    transforms: [{ name: 'deduplicate' }],
  });
});

test('the log names the data, and a name with the separator of its list is quoted', async () => {
  const { logger, lines } = recorder();
  await createBatchSourceFactory().create(
    sourceOf(
      ['law, tax', ...Array.from({ length: 5 }, () => 'sport')].map((topic, index) => ({
        ...chat(`a${index}`, 'b'),
        columns: { topic },
      })),
    ),
    { ...dependencies, logger, title: 'replay data' },
    { ...defaultBatchOptions, purpose: 'eval', balance: { by: 'topic', temperature: 1000, maxRepeats: 3 } },
  );
  expect(lines).toEqual([
    expect.stringMatching(/^info: replay data: 6 of 6 conversations/),
    'info: replay data: an epoch draws 3 of 1 "law, tax", 3 of 5 sport',
  ]);
});

test('transforms for training data are not applied to evaluation data', async () => {
  const { logger } = recorder();
  const nothing: DataTransform = {
    trainOnly: true,
    async *transform() {},
  };
  const create = (purpose: 'train' | 'eval') =>
    createBatchSourceFactory().create(
      sourceOf([chat('a', '1')]),
      { ...dependencies, logger, transforms: [nothing] },
      { ...defaultBatchOptions, purpose },
    );
  expect((await create('eval')).summary.conversations).toBe(1);
  await expect(create('train')).rejects.toMatchObject({ code: 'DATA_EMPTY' });
});

test('a quality gate checks the data after its transforms', async () => {
  const { logger } = recorder();
  const create = (transforms: readonly DataTransform[], maxDuplicates: number) =>
    createBatchSourceFactory().create(
      sourceOf([chat('a', '1'), chat('a', '1'), chat('b', '2'), chat('c', '3')]),
      { ...dependencies, logger, transforms, qualityGate: { maxDuplicates, minConversations: 3 } },
      { ...defaultBatchOptions, purpose: 'train' },
    );
  await expect(create([], 0.2)).rejects.toMatchObject({
    code: 'DATA_QUALITY',
    problems: [{ message: 'maxDuplicates', expected: 'at most 0.2', found: '0.25' }],
  });
  expect((await create([], 0.25)).summary.conversations).toBe(4);
  const deduplicated = await create([createDeduplicateTransform()], 0);
  expect(deduplicated.summary.manifest).toMatchObject({
    transforms: [{ name: 'deduplicate', conversationsIn: 4, conversationsOut: 3 }],
  });
});

describe('evaluation data that the training data repeats', () => {
  const returns = 'You can return shoes within thirty days, as long as they were not worn outside.';
  const [asked, almost, far] = [
    chat('Can I return my shoes?', returns),
    chat('Can I return my new shoes?', returns),
    chat('Where is my parcel?', 'It will arrive tomorrow.'),
  ];
  const { logger, lines } = recorder();
  const factory = createBatchSourceFactory();
  const learn = async (
    train: Parameters<typeof sourceOf>[0],
    held: Parameters<typeof sourceOf>[0],
    policy: 'error' | 'warn',
    threshold = 0.7,
  ): Promise<BatchSource> => {
    const data = await factory.create(
      sourceOf(held),
      { ...dependencies, logger },
      { ...defaultBatchOptions, purpose: 'eval' },
    );
    lines.length = 0;
    return factory.create(
      sourceOf(train),
      { ...dependencies, logger, heldOut: { data, policy, threshold } },
      { ...defaultBatchOptions, purpose: 'train' },
    );
  };

  test('is an error that lists the pairs', async () => {
    await expect(learn([far, asked, almost], [asked], 'error')).rejects.toMatchObject({
      code: 'DATA_LEAKAGE',
      details: { leaks: 2 },
      problems: [
        { message: 'the same as memory.jsonl:1', place: { file: 'memory.jsonl', line: 2 } },
        {
          message: expect.stringMatching(/^[789]\d % similar to memory\.jsonl:1$/) as string,
          place: { file: 'memory.jsonl', line: 3 },
        },
      ],
    });
  });

  test('is a warning, or is allowed if only exact duplicates count', async () => {
    expect((await learn([far, almost], [asked], 'warn')).summary.conversations).toBe(2);
    expect(lines).toContainEqual(
      expect.stringMatching(/^warn: .*1 conversation of the training data repeats evaluation data/),
    );
    expect((await learn([far, almost], [asked], 'error', 1)).summary.conversations).toBe(2);
    await expect(learn([far, chat('can i return my SHOES', returns)], [asked], 'error', 1)).rejects.toMatchObject({
      code: 'DATA_LEAKAGE',
    });
    await learn([far], [asked], 'error');
  });

  test('is found in an exchange of what the transforms make', async () => {
    const shop = (question: string, answer: string) => ({ ...chat(question, answer), columns: { topic: 'shop' } });
    const train = sourceOf([
      shop('Where is the shop?', 'In the old town, near the bridge.'),
      shop('Can I return my shoes?', returns),
      shop('Do you sell umbrellas?', 'Yes, in every shop of ours.'),
    ]);
    const held = { ...dependencies, logger };
    const data = await factory.create(sourceOf([asked]), held, { ...defaultBatchOptions, purpose: 'eval' });
    const learnWith = (transforms: readonly DataTransform[], onLeak: 'error' | 'warn' = 'error') =>
      factory.create(
        train,
        { ...held, transforms, heldOut: { data, policy: onLeak, threshold: 0.7 } },
        { ...defaultBatchOptions, purpose: 'train' },
      );
    const joined = createTurnTransform({ methods: ['join'] });
    const dropSingle = createQualityTransform({ minTurns: 3 });
    await expect(learnWith([joined, dropSingle])).rejects.toMatchObject({
      code: 'DATA_LEAKAGE',
      details: { leaks: 1, pairs: [{ part: 'exchange', train: 'memory.jsonl:1 + memory.jsonl:2 + memory.jsonl:3' }] },
    });
    const folder = temporaryFolder();
    writeInto(folder, 'eval.jsonl', asLines([{ messages: asked.messages }]));
    const against = createDeduplicateTransform({ against: ['eval.jsonl'], onLeak: 'drop' }, folder);
    expect((await learnWith([joined, against])).summary.conversations).toBe(2);
    expect(lines).toContainEqual(expect.stringMatching(/^warn: .*"augment-turns" comes before "deduplicate"/));
  });

  test('is found in cached data, too; each evaluation set has its own cache entry', async () => {
    const folder = temporaryFolder();
    const [cacheFolder, train, held] = [
      join(folder, 'cache'),
      writeInto(folder, 'train.jsonl', asLines([far, almost].map(({ messages }) => ({ messages })))),
      writeInto(folder, 'eval.jsonl', asLines([{ messages: asked.messages }])),
    ];
    const cached = createBatchSourceFactory({ cacheFolder, cacheFromBytes: 0 });
    const known = { ...dependencies, tokenizer: remakeHashed(), logger };
    const learnFiles = async (evalFile: string): Promise<BatchSource> => {
      const data = await cached.create(await createConversationSource({ path: evalFile }, folder), known, {
        ...defaultBatchOptions,
        purpose: 'eval',
      });
      return cached.create(
        await createConversationSource({ path: train }, folder),
        { ...known, heldOut: { data, policy: 'error', threshold: 0.7 } },
        { ...defaultBatchOptions, purpose: 'train' },
      );
    };
    for (const _ of [1, 2])
      await expect(learnFiles(held)).rejects.toMatchObject({ code: 'DATA_LEAKAGE', details: { leaks: 1 } });
    expect(
      (
        await learnFiles(
          writeInto(
            folder,
            'other.jsonl',
            asLines([{ messages: chat('What is your name?', 'I have none.').messages }]),
          ),
        )
      ).summary.conversations,
    ).toBe(2);
    await expect(learnFiles(held)).rejects.toMatchObject({ code: 'DATA_LEAKAGE' });
    // Two evaluation files, and the training file with each of them.
    expect(readdirSync(cacheFolder)).toHaveLength(4);
  });
});
