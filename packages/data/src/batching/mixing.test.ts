import { describe, expect, test } from 'vitest';
import type { Batch, BalanceOptions, Conversation } from '@whetstone/core/contract';
import { createMixtureSource } from '../sources/conversations.js';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { asLines, collect, temporaryFolder, writeInto } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { balanceSamples } from './balance.js';
import { createBatchSource } from './batch-source.js';
import type { BatchOptions } from './options.js';

/** 60 samples of "domain", 30 of "style", 10 of "general". */
const groups = {
  names: ['domain', 'style', 'general'],
  groupOf: Array.from({ length: 100 }, (_, index) => (index < 60 ? 0 : index < 90 ? 1 : 2)),
};
const draw = (options: Omit<BalanceOptions, 'by'>) => balanceSamples(groups, { by: 'topic', ...options }, 42);
const drawn = (options: Omit<BalanceOptions, 'by'>) => draw(options).shares.map((share) => share.drawn);

describe('balance', () => {
  test('without weights, every sample is drawn once', () => {
    expect([...draw({}).samples]).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  test('with a weight for one group, the others share the rest by size', () => {
    expect(drawn({ weights: { general: 0.05 } })).toEqual([63, 32, 5]);
    expect(drawn({ weights: { general: 0.1, style: 0.1 } })).toEqual([80, 10, 10]);
  });

  test('weights for all groups are divided by their sum; maxRepeats limits how often a sample is drawn', () => {
    // 50 would be each of the ten samples five times.
    expect(drawn({ weights: { domain: 1, style: 1, general: 2 } })).toEqual([25, 25, 30]);
    expect(drawn({ weights: { domain: 1, style: 1, general: 2 }, maxRepeats: 10 })).toEqual([25, 25, 50]);
    const counts = new Map<number, number>();
    for (const sample of draw({ weights: { domain: 0, style: 0, general: 1 }, maxRepeats: 2.5 }).samples)
      counts.set(sample, (counts.get(sample) ?? 0) + 1);
    expect([...counts.values()].sort()).toEqual([...Array<number>(5).fill(2), ...Array<number>(5).fill(3)]);
  });

  test('temperature makes groups more equal', () => {
    const [domain, style, general] = drawn({ temperature: 2 }) as [number, number, number];
    // Shares in proportion to √0.6, √0.3, √0.1.
    const roots = [0.6, 0.3, 0.1].map(Math.sqrt);
    const sum = roots.reduce((all, root) => all + root, 0);
    expect([domain, style, general]).toEqual(roots.map((root) => Math.round((100 * root) / sum)));
  });

  test('is deterministic, and rejects invalid weights', () => {
    expect(draw({ weights: { general: 0.05 } }).samples).toEqual(draw({ weights: { general: 0.05 } }).samples);
    expect(() => draw({ weights: { other: 1 } })).toThrow(expect.objectContaining({ code: 'CONFIG_CONFLICT' }));
    expect(() => draw({ weights: { general: 1.2 } })).toThrow(expect.objectContaining({ code: 'CONFIG_CONFLICT' }));
  });
});

const texts = (batches: readonly Batch[]): string[] =>
  batches.flatMap((batch) =>
    Array.from({ length: batch.rows }, (_, row) =>
      characterTokenizer.decode([...batch.ids.subarray(row * batch.length, (row + 1) * batch.length)]),
    ),
  );

test('a mixture of files in different layouts, balanced by source', async () => {
  const folder = temporaryFolder();
  writeInto(
    folder,
    'domain.jsonl',
    asLines(Array.from({ length: 9 }, (_, index) => ({ messages: chat(`domain ${index}`, 'yes').messages }))),
  );
  writeInto(folder, 'general.csv', 'instruction,output\ngeneral 0,no\ngeneral 1,no\ngeneral 2,no\n');
  const source = await createMixtureSource(
    [
      { name: 'domain', path: ['domain.jsonl'] },
      { name: 'general', path: ['general.csv'] },
    ],
    folder,
  );
  const batches = await createBatchSource({
    source,
    tokenizer: characterTokenizer,
    renderer: plainRenderer,
    options: { balance: { by: 'source', weights: { general: 0.5 } } },
  });
  expect(batches.summary.groups).toEqual([
    { name: 'domain', samples: 9, drawn: 6 },
    { name: 'general', samples: 3, drawn: 6 },
  ]);
  const all = texts(await collect(batches.epoch(0)));
  expect(all.filter((text) => text.includes('general'))).toHaveLength(6);
  expect(new Set(all.filter((text) => text.includes('general'))).size).toBe(3);
});

test.each([
  ['topics', 'no conversation has the column "topics"'],
  ['topic', 'all conversations are in the group law'],
])('a balance by %s, which makes a single group, is reported', async (by, reason) => {
  const warnings: string[] = [];
  await createBatchSource({
    source: sourceOf([{ ...chat('a', 'b'), columns: { topic: 'law' } }]),
    tokenizer: characterTokenizer,
    renderer: plainRenderer,
    options: { balance: { by } },
    onWarning: (message) => void warnings.push(message),
  });
  expect(warnings).toEqual([`data.balance has no effect: ${reason}.`]);
});

describe('curriculum', () => {
  const conversations = Array.from({ length: 40 }, (_, index): Omit<Conversation, 'origin'> => ({
    ...chat('q', 'x'.repeat(1 + ((index * 17) % 40))),
    columns: { difficulty: (index * 7) % 40 },
  }));
  const build = (options: Partial<BatchOptions>) =>
    createBatchSource({
      source: sourceOf(conversations),
      tokenizer: characterTokenizer,
      renderer: plainRenderer,
      options: { batchSize: 2, ...options },
    });

  test('orders the first epoch from short to long; later epochs are random', async () => {
    const source = await build({ curriculum: { by: 'length', epochs: 1 } });
    const means = async (epoch: number): Promise<number[]> => {
      const tokens = (await collect(source.epoch(epoch))).map((batch) => batch.tokens);
      return [0, 1, 2, 3].map((quarter) =>
        tokens.slice(quarter * 5, quarter * 5 + 5).reduce((sum, count) => sum + count, 0),
      );
    };
    const first = await means(0);
    expect(first).toEqual([...first].sort((a, b) => a - b));
    const second = await means(1);
    expect(second).not.toEqual([...second].sort((a, b) => a - b));
    expect(await collect(source.epoch(0, { skip: 7 }))).toEqual((await collect(source.epoch(0))).slice(7));
  });

  test('by a column; a conversation without the column is an error with its place', async () => {
    const source = await build({ curriculum: { by: 'difficulty', epochs: 1 }, shuffleDataset: false });
    expect(await collect(source.epoch(0))).toHaveLength(20);
    await expect(build({ curriculum: { by: 'hardness', epochs: 1 } })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      place: { file: 'memory.jsonl', line: 1 },
    });
  });

  test('by the loss of each conversation', async () => {
    // The loss is computed from the number of letters x.
    const lossOf = (ids: ArrayLike<number>): number =>
      ((Array.from(ids).filter((id) => id === 'x'.charCodeAt(0)).length - 1) * 23) % 40;
    const rowLosses = async ({ rows, length, ids }: Batch): Promise<number[]> =>
      Array.from({ length: rows }, (_, row) => lossOf(ids.subarray(row * length, (row + 1) * length)));
    const source = await createBatchSource({
      source: sourceOf(conversations),
      tokenizer: characterTokenizer,
      renderer: plainRenderer,
      rowLosses,
      options: { batchSize: 1, curriculum: { by: 'loss', epochs: 1 } },
    });
    const losses = (await collect(source.epoch(0))).map(({ ids }) => lossOf(ids));
    // Sorted, except for the shuffle within four batches.
    for (const [index, loss] of losses.entries()) expect(Math.abs(loss - index)).toBeLessThan(4);
    expect(new Set(losses).size).toBe(40);
    await expect(build({ curriculum: { by: 'loss', epochs: 1 } })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      place: { path: 'data.curriculum.by' },
    });
  });

  test('cannot be combined with packing', async () => {
    await expect(build({ curriculum: { by: 'length', epochs: 1 }, packing: true })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
    });
  });
});
