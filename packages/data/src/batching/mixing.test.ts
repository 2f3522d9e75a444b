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

/** Returns the warnings about conversations of these topics; undefined is a conversation without a topic. */
async function warningsOf(
  topics: readonly (string | undefined)[],
  options: Partial<BatchOptions>,
): Promise<readonly string[]> {
  const warnings: string[] = [];
  await createBatchSource({
    source: sourceOf(
      topics.map((topic, index) => ({
        ...chat(`a${index}`, 'b'),
        ...(topic === undefined ? {} : { columns: { topic } }),
      })),
    ),
    tokenizer: characterTokenizer,
    renderer: plainRenderer,
    options,
    onWarning: (message) => void warnings.push(message),
  });
  return warnings;
}

const repeat = (count: number, topic: string): readonly string[] => Array.from({ length: count }, () => topic);
/** 8 conversations about law, 2 about tax. */
const law = [...repeat(8, 'law'), ...repeat(2, 'tax')];

describe('a balance reports', () => {
  test.each<readonly [string, readonly string[], BalanceOptions, string]>([
    ['temperature 1', law, { by: 'topic' }, 'temperature 1 without weights keeps the shares'],
    ['one group', repeat(3, 'law'), { by: 'topic', temperature: 2 }, 'all conversations are in the group "law"'],
    ['one file', law, { by: 'file', temperature: 2 }, 'all conversations are in the group "memory.jsonl"'],
    ['the shares of the data', law, { by: 'topic', weights: { tax: 0.2 } }, 'the weights are the shares of the data'],
    ['groups of one size', ['law', 'tax'], { by: 'topic', temperature: 2 }, 'all groups have almost the same size'],
  ])('no effect: %s', async (_, topics, balance, reason) => {
    expect(await warningsOf(topics, { balance })).toEqual([expect.stringContaining(`has no effect: ${reason}`)]);
  });

  test('shares that cannot be met, with what it would take', async () => {
    // Half of 10 is 5, but each of 2 conversations at most twice is 4: 4 of 9 is 44 %. 5 of 2 is 2.5 times.
    expect(await warningsOf(law, { balance: { by: 'topic', weights: { tax: 0.5 }, maxRepeats: 2 } })).toEqual([
      'data.balance by "topic" cannot be met: "tax" gets 44 % of an epoch instead of 50 %. maxRepeats 2 limits how ' +
        'often a conversation occurs, and an epoch has 9 conversations instead of 10. Set maxRepeats to at least ' +
        '2.5, lower the share, or add conversations.',
    ]);
    expect(await warningsOf(law, { balance: { by: 'topic', weights: { tax: 0.5 }, maxRepeats: 2.5 } })).toEqual([]);
  });

  test('weights that draw nothing, and a temperature that no group uses', async () => {
    expect(await warningsOf(law, { balance: { by: 'topic', weights: { tax: 0.01 } } })).toEqual([
      expect.stringContaining(
        'draws no conversation of "tax": its weight is less than one of 10 conversations',
      ) as string,
    ]);
    expect(await warningsOf(law, { balance: { by: 'topic', weights: { tax: 0 } } })).toEqual([]);
    expect(await warningsOf(law, { balance: { by: 'topic', weights: { tax: 1, law: 1 }, temperature: 2 } })).toEqual([
      expect.stringContaining('temperature 2 has no effect: all groups have a weight') as string,
    ]);
  });

  test('conversations without a value', async () => {
    expect(await warningsOf([...law, undefined], { balance: { by: 'topic', temperature: 2 } })).toEqual([
      '1 of 11 conversations have no value in the column "topic"; data.balance treats them as a group of their own, ' +
        'with the name "".',
    ]);
  });

  test('a column that no conversation has, as an error with the column that was meant', async () => {
    await expect(warningsOf(law, { balance: { by: 'topics' } })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      place: { path: 'data.balance.by' },
      expected: 'topic',
      hint: "Did you mean 'topic'?",
    });
    await expect(warningsOf([undefined], { balance: { by: 'source' } })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      hint: expect.stringContaining('"mixture"') as string,
    });
    await expect(warningsOf(law, { balance: { by: 'topic', weights: { taxx: 0.5 } } })).rejects.toMatchObject({
      hint: "Did you mean 'tax'?",
    });
  });

  test('nothing if it does what it says', async () => {
    expect(await warningsOf(law, { balance: { by: 'topic', temperature: 2 } })).toEqual([]);
  });
});

test('a curriculum in which all conversations are equal is reported', async () => {
  const [warning] = await warningsOf(['1', '1', '1'], { curriculum: { by: 'topic', epochs: 1 } });
  expect(warning).toContain('data.curriculum by "topic" has no effect');
  await expect(warningsOf(['1'], { curriculum: { by: 'topics', epochs: 1 } })).rejects.toMatchObject({
    hint: "Did you mean 'topic'?",
  });
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
