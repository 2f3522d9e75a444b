import { expect, test } from 'vitest';
import { createBatchSource } from '../batching/batch-source.js';
import { defaultBatchOptions } from '../batching/options.js';
import { createConversationSource } from '../sources/conversations.js';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { asLines, temporaryFolder, writeInto } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { applyTransforms } from '../transforms/apply.js';
import { createDeduplicateTransform } from '../transforms/duplicates/transform.js';
import { diffData } from './diff.js';
import { createManifest, diffManifests } from './manifest.js';

test('a manifest describes the data, and a diff of manifests the changes', async () => {
  const folder = temporaryFolder();
  const manifestOf = async (rows: readonly unknown[], seed = 42) => {
    writeInto(folder, 'train.jsonl', asLines(rows));
    const source = applyTransforms(await createConversationSource({ path: 'train.jsonl' }, folder), [
      createDeduplicateTransform(),
    ]);
    const options = { ...defaultBatchOptions, seed };
    const { summary } = await createBatchSource({
      source,
      tokenizer: characterTokenizer,
      renderer: plainRenderer,
      options,
    });
    return createManifest({
      summary,
      reports: source.reports,
      transforms: source.transforms,
      options,
      tokenizer: characterTokenizer,
      renderer: plainRenderer,
    });
  };
  const rows = [chat('Hi', 'Hello'), chat('Hi', 'Hello'), chat('Where is my parcel?', 'On its way.')].map(
    ({ messages }) => ({ messages }),
  );
  const first = await manifestOf(rows);
  expect(first).toMatchObject({
    counts: { conversations: 2, samples: 2, unreadable: 0 },
    transforms: [
      {
        name: 'deduplicate',
        version: 4,
        options: { near: true, threshold: 0.7 },
        conversationsIn: 3,
        conversationsOut: 2,
        removed: { 'exact-duplicate': 1 },
      },
    ],
    sources: [{ bytes: asLines(rows).length }],
  });
  expect(first.sources[0]?.sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(diffManifests(first, await manifestOf(rows))).toEqual([]);
  const changed = diffManifests(first, await manifestOf(rows.slice(0, 2), 7));
  expect(changed.map(({ path }) => path)).toEqual(
    expect.arrayContaining([
      'contentHash',
      'sources[0].sha256',
      'counts.conversations',
      'transforms[0].conversationsIn',
      'options.seed',
    ]),
  );
  expect(changed.find(({ path }) => path === 'options.seed')).toEqual({ path: 'options.seed', before: 42, after: 7 });
});

test('the diff of two versions of a data set counts conversations, and lists equal ones once', async () => {
  const before = sourceOf([chat('a', '1'), chat('a', '1'), chat('a', '1'), chat('b', '2'), chat('c', '3')]);
  const after = sourceOf([chat('d', '4'), chat('b', 'two'), chat('a', '1')]);
  const diff = await diffData(before, after);
  expect(diff.unchanged).toBe(1);
  expect(diff.added.map(({ index, count }) => [index, count])).toEqual([[0, 1]]);
  expect(diff.changed.map(({ before: one, after: other }) => [one.index, other.index])).toEqual([[3, 1]]);
  expect(diff.removed.map(({ index, count }) => [index, count])).toEqual([
    [1, 2],
    [4, 1],
  ]);
  expect(diff.otherwiseEqual).toEqual([]);
});

test('the diff finds columns and fields that steer training', async () => {
  const [plain, heavy] = [chat('a', '1'), chat('b', '2')];
  const weighted = { ...heavy, messages: heavy.messages.map((message) => ({ ...message, weight: 0.5 })) };
  const diff = await diffData(
    sourceOf([
      { ...plain, columns: { topic: 'law', level: 1 } },
      heavy,
      { ...chat('c', '3'), columns: { x: 1, y: 2 } },
    ]),
    sourceOf([
      { ...plain, columns: { topic: 'tax', level: 1 } },
      weighted,
      { ...chat('c', '3'), columns: { y: 2, x: 1 } },
    ]),
  );
  // The order of columns is not a change.
  expect(diff).toMatchObject({ unchanged: 1, added: [], removed: [], changed: [] });
  expect(diff.otherwiseEqual.map(({ before, after }) => [before.index, after.index])).toEqual([
    [0, 0],
    [1, 1],
  ]);
});
