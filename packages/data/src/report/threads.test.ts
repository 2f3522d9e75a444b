import { describe, expect, test } from 'vitest';
import type { Conversation, DataSource, Recipe } from '@whetstone/core/contract';
import { startInline } from '../testing/inline-thread.js';
import { proveSupervision } from '../proof/prove.js';
import { createConversationSource } from '../sources/conversations.js';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { temporaryFolder, writeInto } from '../testing/files.js';
import { applyTransforms } from '../transforms/apply.js';
import { createNormalizeTransform } from '../transforms/normalize/transform.js';
import { analyseData, type AnalyseInputs } from './analyse.js';
import type { DataReport } from './data-report.js';
import { createBottomSample } from './bottom-sample.js';

const fakes = new URL('../testing/fakes.ts', import.meta.url).href;
const tokenizing = {
  tokenizer: {
    ...characterTokenizer,
    hash: 'characters',
    recipe: { module: fakes, name: 'remakeHashed', argument: null } as Recipe,
  },
  renderer: { ...plainRenderer, recipe: { module: fakes, name: 'remakeRenderer', argument: null } as Recipe },
};

const folder = temporaryFolder();
const words = 'order parcel shoes return refund invoice address delivery late broken 鞋子 退款'.split(' ');
// Duplicates, contradictions, empty replies and unreadable rows, in several blocks.
const rows = Array.from({ length: 420 }, (_, index) => {
  if (index % 70 === 37) return '{"messages": [}';
  const word = (step: number): string => words[(index * step) % words.length] ?? '';
  const answer =
    index % 90 === 4
      ? ''
      : index % 12 === 1
        ? 'Nobody knows anything about that here.'
        : `Your ${word(7)} and ${word(3)} will come on day ${index % 31}, ${'soon '.repeat(index % 9)}I think.`;
  return JSON.stringify({
    messages: [
      { role: 'user', content: `Where is my ${word(3)} ${index % 7}?` },
      { role: 'assistant', content: answer },
    ],
  });
});
const file = writeInto(folder, 'many.jsonl', `${rows.join('\n')}\n`);
const threads = (workers: number) => ({ workers, fromBytes: 0, blockBytes: 12_000, startThread: startInline });
const lossesOf: NonNullable<AnalyseInputs['lossesOf']> = async (conversations: readonly Conversation[]) =>
  conversations.map(({ origin }) => (origin.index % 17 === 0 ? 9 : 2 + (origin.index % 5) / 10));
const open = async (): Promise<DataSource> => createConversationSource({ path: file }, folder);

async function report(more: Partial<AnalyseInputs>, source?: DataSource): Promise<DataReport> {
  return analyseData({
    title: 'Many',
    source: source ?? (await open()),
    tokenizing,
    options: { maxLength: 80 },
    lossesOf,
    lossSample: 60,
    ...more,
  });
}

describe('the report does not depend on the number of threads', () => {
  test('with tokens and losses', async () => {
    const alone = await report({});
    expect(alone).toMatchObject({
      conversations: 414,
      unreadable: { count: 6 },
      duplicates: { exact: expect.any(Number) as number },
      difficulty: { losses: { count: 60 } },
    });
    expect(alone.suspects.count).toBeGreaterThan(10);
    expect(alone.duplicates.exact + alone.duplicates.near).toBeGreaterThan(10);
    expect(alone.worst.length).toBeGreaterThan(3);
    expect(alone.tokens?.truncated).toBeGreaterThan(10);
    for (const workers of [1, 3]) {
      const notes: string[] = [];
      expect(await report({ threads: { ...threads(workers), onNote: (note) => notes.push(note) } })).toEqual(alone);
      expect(notes).toEqual([]);
    }
  });

  test('without a tokenizer, after a transform, with a limit', async () => {
    const { tokenizing: _without, ...rest } = { tokenizing, lossSample: 60 };
    for (const source of [
      async () => applyTransforms(await open(), [createNormalizeTransform()]),
      () => createConversationSource({ path: file, limit: 210 }, folder),
    ]) {
      const alone = await analyseData({ title: 'Many', source: await source(), ...rest });
      expect(await analyseData({ title: 'Many', source: await source(), ...rest, threads: threads(2) })).toEqual(alone);
    }
  });

  test('for the supervision proof', async () => {
    const alone = await proveSupervision({ source: await open(), ...tokenizing, options: { maxLength: 80 } });
    expect(alone.truncated).toBeGreaterThan(10);
    expect(
      await proveSupervision({ source: await open(), ...tokenizing, options: { maxLength: 80 }, threads: threads(3) }),
    ).toEqual(alone);
  });

  test('if threads end during the pass', async () => {
    let posted = 0;
    const startThread = () => {
      const thread = startInline();
      let fail: (reply: Error) => void = () => {};
      return {
        ...thread,
        onReply: (listener: Parameters<typeof thread.onReply>[0]) => (thread.onReply(listener), (fail = listener)),
        post: (...message: Parameters<typeof thread.post>) =>
          posted++ < 5 ? thread.post(...message) : fail(new Error('ended')),
      };
    };
    const notes: string[] = [];
    expect(await report({ threads: { ...threads(2), startThread, onNote: (note) => notes.push(note) } })).toEqual(
      await report({}),
    );
    expect(notes).toEqual([expect.stringMatching(/again on one thread/)]);
  });
});

test('a bottom sample has the smallest priorities, and returns the limit for further values', () => {
  const priorities = Array.from({ length: 500 }, (_, index) => (index * 7919) % 1009);
  const drawn = createBottomSample<number>(20);
  for (const priority of priorities) drawn.add(priority, priority);
  const expected = [...priorities].sort((a, b) => a - b).slice(0, 20);
  expect(drawn.sample().map(({ value }) => value)).toEqual(expected);
  expect(drawn.below).toBe(expected.at(-1));
});
