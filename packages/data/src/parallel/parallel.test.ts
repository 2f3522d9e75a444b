import { createHash } from 'node:crypto';
import { appendFileSync, existsSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, test, vi } from 'vitest';
import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, DataSource, DataTransform, Recipe } from '@whetstone/core/contract';
import { createBatchSource, type PreparedBatchSource } from '../batching/batch-source.js';
import { defaultBatchOptions, type BatchOptions } from '../batching/options.js';
import {
  createConversationSource,
  createMixtureSource,
  type ConversationSourceOptions,
} from '../sources/conversations.js';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { chat, sourceOf } from '../testing/sources.js';
import { collect, temporaryFolder, writeInto } from '../testing/files.js';
import { applyTransforms } from '../transforms/apply.js';
import { createDecontaminateTransform } from '../transforms/decontaminate/transform.js';
import { createDeduplicateTransform } from '../transforms/duplicates/transform.js';
import { createNormalizeTransform } from '../transforms/normalize/transform.js';
import { createQualityTransform } from '../transforms/quality/transform.js';
import { createRedactTransform } from '../transforms/redact/transform.js';
import { finderOf, leakageOptions, type HeldOut } from '../transforms/duplicates/leakage.js';
import { passOnThreads } from './pass.js';
import { startInline } from '../testing/inline-thread.js';
import { startThread, type Thread } from './thread-pool.js';

const fakes = new URL('../testing/fakes.ts', import.meta.url).href;
const tokenizer = {
  ...characterTokenizer,
  hash: 'characters',
  recipe: { module: fakes, name: 'remakeHashed', argument: null } as Recipe,
};
const renderer = { ...plainRenderer, recipe: { module: fakes, name: 'remakeRenderer', argument: null } as Recipe };

const small = { fromBytes: 0, blockBytes: 12_000 };
const folder = temporaryFolder();
const words = 'order parcel shoes return refund invoice address delivery late broken'.split(' ');
const row = (index: number): string => {
  const word = (step: number): string => words[(index * step) % words.length] ?? '';
  const messages = [
    { role: 'user', content: `Where is my ${word(3)} ${index % 70}, my number is 13812345678` },
    {
      role: 'assistant',
      content: `Your ${word(7)} and ${word(3)} will come on day ${index % 31}.`,
      ...(index % 50 === 3 ? { weight: 0.5 } : {}),
    },
  ];
  return `${JSON.stringify({ messages, topic: word(1) })}\n`;
};
// 1500 rows in blocks of about 60, with blank lines, unreadable rows and one row without target tokens.
const rows = Array.from({ length: 1500 }, (_, index) =>
  index % 150 === 77
    ? '{"messages": [}\n'
    : index % 301 === 5
      ? '\n'
      : index === 1123
        ? '{"messages": [{"role": "user", "content": "only a question"}]}\n'
        : row(index),
);
const file = writeInto(folder, 'many.jsonl', rows.join(''));
const other = writeInto(folder, 'others.jsonl.gz', gzipSync(rows.slice(0, 400).join('')));
writeInto(
  folder,
  'table.csv',
  'prompt,completion\n' +
    `${Array.from({ length: 700 }, (_, index) => `"question ${index}","an answer, number ${index}"\n`).join('')}`,
);
writeInto(folder, 'bench.jsonl', '{"prompt": "where is my refund 12 my number is 13812345678", "completion": ""}\n');

const cleaners = (): DataTransform[] => [
  createNormalizeTransform(),
  createRedactTransform(),
  createDeduplicateTransform({ near: true, threshold: 0.9 }),
  createDecontaminateTransform({ benchmarks: ['bench.jsonl'], words: 4 }, folder),
  createQualityTransform({ roleOrder: false }),
  createDeduplicateTransform({ part: 'prompt', near: false }),
];
const options: Partial<BatchOptions> = {
  maxLength: 200,
  packing: true,
  unreadableRows: 'skip',
  samplesWithoutTargets: 'skip',
  balance: { by: 'topic' },
};

// Exact and near duplicates of training data.
const evaluation = [
  chat('Where is my address 7, my number is [PHONE_1]', 'Your order and address will come on day 7.'),
  chat('Where is my address 7, my number is 13812345678', 'Your order and address will come on day 7.'),
  chat('question 5', 'an answer, number 5'),
];
const heldOut: HeldOut = {
  key: 'eval',
  fingerprints: leakageOptions(0.6),
  open: () => finderOf(sourceOf(evaluation), leakageOptions(0.6)),
};

interface Made {
  readonly source: DataSource;
  readonly batches: PreparedBatchSource;
}

async function make(
  open: () => Promise<DataSource>,
  transforms: DataTransform[],
  workers: number,
  start: () => Thread = startInline,
  more: Partial<BatchOptions> = {},
): Promise<Made> {
  const inner = await open();
  const source = transforms.length === 0 ? inner : applyTransforms(inner, transforms);
  const batches = await createBatchSource({
    source,
    tokenizer,
    renderer,
    heldOut,
    options: { ...options, ...more, workers },
    ...small,
    startThread: start,
  });
  return { source, batches };
}

/** One hash per batch, as comparing millions of numbers takes seconds. */
const digests = async ({ batches }: Made): Promise<string[]> =>
  (await collect(batches.epoch(0))).map(({ ids, labels, segmentIds, positionIds, weights = new Float32Array(1) }) => {
    const hash = createHash('sha256');
    for (const values of [ids, labels, segmentIds, positionIds, weights]) hash.update(values);
    return hash.digest('hex');
  });

async function expectSame(one: Made, two: Made): Promise<void> {
  expect(two.batches.summary).toEqual(one.batches.summary);
  expect(two.batches.supervision).toEqual(one.batches.supervision);
  expect(two.batches.leaks).toEqual(one.batches.leaks);
  expect(one.batches.leaks?.count).toBeGreaterThan(0);
  expect('reports' in two.source && two.source.reports).toEqual('reports' in one.source && one.source.reports);
  const [left, right] = [await digests(one), await digests(two)];
  expect(left.length).toBeGreaterThan(2);
  expect(right).toEqual(left);
}

const conversations =
  (given: Partial<ConversationSourceOptions> = {}) =>
  () =>
    createConversationSource({ path: [file, other], ...given }, folder);

// Each test reads the data several times, also on slow machines.
vi.setConfig({ testTimeout: 240_000 });

describe('the result does not depend on the number of threads', () => {
  test('for batches, counts, reports, unreadable rows and the content hash, after all transforms', async () => {
    const alone = await make(conversations(), cleaners(), 0);
    expect(alone.batches.summary.unreadable.length).toBeGreaterThan(8);
    expect(alone.source).toMatchObject({
      reports: [
        { name: 'normalize-text' },
        { changed: { phone: expect.any(Number) as number } },
        { removed: { 'near-duplicate': expect.any(Number) as number } },
        { removed: { 'in-benchmark': expect.any(Number) as number } },
        {},
        {},
      ],
    });
    for (const workers of [1, 3]) await expectSame(alone, await make(conversations(), cleaners(), workers));
  });

  test('without transforms, with a limit, for a mixture, and with a transform on the main thread', async () => {
    const mixture = () =>
      createMixtureSource(
        [
          { name: 'a', path: [file], limit: 301 },
          { name: 'b', path: ['table.csv'], limit: 555 },
          { name: 'c', path: [other] },
        ],
        folder,
      );
    const shorten: DataTransform = {
      async *transform(all: AsyncIterable<Conversation>) {
        for await (const one of all) if (one.origin.index % 3 !== 0) yield one;
      },
    };
    for (const [open, transforms] of [
      [conversations(), []],
      [conversations({ limit: 777 }), []],
      [mixture, []],
      [mixture, [shorten]],
    ] as const) {
      await expectSame(await make(open, [...transforms], 0), await make(open, [...transforms], 2));
    }
  });

  test('for the first error, with its file and line', async () => {
    const failing = async (
      workers: number,
      more: Partial<BatchOptions>,
      transforms: DataTransform[] = [],
    ): Promise<unknown> =>
      make(conversations(), transforms, workers, startInline, more).catch((error: unknown) => error);
    const long = `${JSON.stringify({
      messages: [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'x'.repeat(500) },
      ],
    })}\n`;
    appendFileSync(file, long);
    for (const more of [
      { truncationMode: 'error', packing: false },
      { samplesWithoutTargets: 'error' },
      { unreadableRows: 'error' },
    ] as const) {
      const one = await failing(0, more);
      expect(one).toMatchObject({
        code: expect.any(String) as string,
        place: { file, line: expect.any(Number) as number },
      });
      const two = await failing(3, more);
      expect({ ...(two as object) }).toEqual({ ...(one as object) });
      expect((two as Error).message).toBe((one as Error).message);
    }
    const against = [
      createNormalizeTransform(),
      createDeduplicateTransform({ against: ['bench.jsonl'], part: 'prompt', threshold: 0.4 }, folder),
    ];
    const leak = await failing(0, {}, against);
    expect(leak).toMatchObject({ code: 'DATA_LEAKAGE' });
    expect({ ...((await failing(3, {}, against)) as object) }).toEqual({ ...(leak as object) });
  });

  test('an error in an earlier conversation is reported before a read error', async () => {
    const breaking = async (): Promise<DataSource> => ({
      files: [file],
      unreadable: [],
      async *conversations() {
        for (let index = 0; index < 40; index++)
          yield {
            form: 'chat',
            messages: [
              { role: 'user', content: 'a' },
              { role: 'assistant', content: 'x'.repeat(index === 20 ? 90 : 5) },
            ],
            origin: { file, line: index + 1, index },
          } as const;
        throw new WhetstoneError('FILE_UNREADABLE', 'The rest cannot be read.');
      },
    });
    for (const workers of [0, 2])
      await expect(
        make(breaking, [], workers, startInline, { truncationMode: 'error', maxLength: 60, packing: false }),
      ).rejects.toMatchObject({ code: 'CONTEXT_EXCEEDED', place: { line: 21 } });
  });

  test.each([0, 2])('an abort ends the pass: %i threads', async (workers) => {
    const stop = new AbortController();
    const start = (): Thread => {
      const thread = startInline();
      return { ...thread, post: (message, transfer) => (stop.abort(), thread.post(message, transfer)) };
    };
    if (workers === 0) setTimeout(() => stop.abort(), 1);
    const source = await conversations()();
    await expect(
      createBatchSource({
        source,
        tokenizer,
        renderer,
        options: { ...options, workers },
        ...small,
        startThread: start,
        signal: stop.signal,
      }),
    ).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });

  test('for the kept conversations as JSON Lines', async () => {
    const lines = async (workers: number): Promise<string> => {
      const source = applyTransforms(await conversations()(), [
        createQualityTransform(),
        createDeduplicateTransform({ near: false }),
      ]);
      const parts: Uint8Array[] = [];
      const done = await passOnThreads(
        source,
        { kind: 'lines' },
        null,
        { workers, ...small, startThread: startInline },
        ({ output }) => void (output.kind === 'lines' && parts.push(output.bytes)),
      );
      expect(done).toBe(workers > 0);
      return Buffer.concat(parts).toString();
    };
    expect(await lines(1)).toBe(await lines(3));
    expect((await lines(2)).split('\n').length).toBeGreaterThan(50);
  });
});

describe('if threads are not available', () => {
  const ending = (after: number) => (): Thread => {
    const thread = startInline();
    let posted = 0;
    let fail: (reply: Error) => void = () => {};
    return {
      ...thread,
      onReply: (listener) => (thread.onReply(listener), (fail = listener)),
      post: (message, transfer) => (posted++ < after ? thread.post(message, transfer) : fail(new Error('ended'))),
    };
  };

  test.each([
    [
      'do not start',
      () => {
        throw Object.assign(new Error('no threads here'), { code: 'ERR_WORKER_INIT_FAILED' });
      },
    ],
    ['end at once', ending(0)],
    ['end during the pass', ending(5)],
  ])('the main thread does the work of threads that %s', async (_, start) => {
    const alone = await make(conversations(), [createQualityTransform()], 0);
    await expectSame(alone, await make(conversations(), [createQualityTransform()], 2, start));
  });

  test('a thread with a different tokenizer is not used', async () => {
    const notes: string[] = [];
    const changed = { ...tokenizer, hash: 'another' };
    await createBatchSource({
      source: await conversations()(),
      tokenizer: changed,
      renderer,
      options: { ...options, workers: 2 },
      ...small,
      startThread: startInline,
      onNote: (note) => notes.push(note),
    });
    expect(notes).toEqual([expect.stringMatching(/one thread: The tokenizer or chat template of a worker thread/)]);
  });
});

const built = existsSync(new URL('../../dist/parallel/worker.js', import.meta.url));
if (!built) console.warn('SKIPPED: worker threads run compiled files. Run `npm run build` first.');
test.skipIf(!built)('real worker threads give the same result', async () => {
  const module = new URL('../../dist/testing/fakes.js', import.meta.url).href;
  const real = {
    tokenizer: { ...tokenizer, recipe: { ...tokenizer.recipe, module } },
    renderer: { ...renderer, recipe: { ...renderer.recipe, module } },
  };
  const notes: string[] = [];
  const alone = await make(conversations(), cleaners(), 0);
  const source = applyTransforms(await conversations()(), cleaners());
  const batches = await createBatchSource({
    source,
    ...real,
    heldOut,
    options: { ...options, workers: 2 },
    ...small,
    startThread,
    onNote: (note) => notes.push(note),
  });
  expect(notes).toEqual([]);
  await expectSame(alone, { source, batches });
  expect(defaultBatchOptions.workers).toBeNull();
});
