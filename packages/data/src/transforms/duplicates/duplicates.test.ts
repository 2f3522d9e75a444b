import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Conversation } from '@whetstone/core/contract';
import { asLines, collect, temporaryFolder, writeInto } from '../../testing/files.js';
import { chat, sourceOf } from '../../testing/sources.js';
import { applyTransforms } from '../apply.js';
import { createDecontaminateTransform } from '../decontaminate/transform.js';
import { createDuplicateFinder, fingerprintOf } from './finder.js';
import { defaultDuplicateOptions } from './options.js';
import { findLeaks } from './leakage.js';
import { minHashSignature, shingleHashes, SKETCH_HASHES, sketchOf, sketchSimilarity } from './min-hash.js';
import { createDeduplicateTransform } from './transform.js';
import { createSimilarityIndex } from './similarity-index.js';

const text = (content: string): Conversation => ({
  form: 'text',
  messages: [{ role: 'assistant', content }],
  origin: { index: 0 },
});

// 20 pairs of duplicates (typing errors, widths, a word more or less) and 20 pairs of similar texts, in English and
// Chinese.
const pairs = readFileSync(new URL('../../../../../test/labelled/near-duplicates.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { readonly a: string; readonly b: string; readonly duplicate: boolean });

test('precision and recall on labelled pairs', () => {
  const found = pairs.map(({ a, b, duplicate }) => {
    const finder = createDuplicateFinder(defaultDuplicateOptions);
    const fingerprint = (content: string) => fingerprintOf(text(content), defaultDuplicateOptions);
    finder.add(fingerprint(a), { index: 0 });
    return { a, b, duplicate, found: finder.find(fingerprint(b)) };
  });
  const right = found.filter((pair) => pair.duplicate && pair.found).length;
  const precision = right / found.filter((pair) => pair.found).length;
  const recall = right / found.filter((pair) => pair.duplicate).length;
  expect(found.filter((pair) => !pair.duplicate && pair.found)).toEqual([]);
  expect(found.filter((pair) => pair.duplicate && !pair.found).map(({ a, b }) => [a, b])).toEqual([]);
  expect(precision).toBe(1);
  expect(recall).toBeGreaterThanOrEqual(0.9);
});

test('sketches give the Jaccard similarity: exactly for short texts, nearly for long ones', () => {
  const jaccard = (a: Uint32Array, b: Uint32Array): number => {
    const [one, two] = [new Set(a), new Set(b)];
    return [...one].filter((hash) => two.has(hash)).length / new Set([...one, ...two]).size;
  };
  for (const { a, b } of pairs) {
    const [one, two] = [shingleHashes(a), shingleHashes(b)];
    const exact = jaccard(one, two);
    expect(sketchSimilarity(sketchOf(one), sketchOf(two))).toBeCloseTo(exact, 12);
    for (const atLeast of [0.5, 0.7, 0.9]) {
      const similarity = sketchSimilarity(sketchOf(one), sketchOf(two), atLeast);
      if (exact >= atLeast) expect(similarity).toBeCloseTo(exact, 12);
      else expect(similarity).toBeLessThan(atLeast);
    }
  }
  const numbers = (from: number, to: number): string =>
    Array.from({ length: to - from }, (_, index) => `n${from + index}`).join(' ');
  const [one, two] = [shingleHashes(numbers(0, 2000)), shingleHashes(numbers(300, 2300))];
  // Four standard errors of 256 hashes.
  expect(Math.abs(sketchSimilarity(sketchOf(one), sketchOf(two)) - jaccard(one, two))).toBeLessThan(
    4 * Math.sqrt(0.25 / SKETCH_HASHES),
  );
});

test('the index finds the same pairs as a comparison of all pairs', () => {
  const texts = pairs.flatMap(({ a, b }) => [a, b]);
  expect(texts.length).toBeGreaterThan(0);
  const index = createSimilarityIndex(0.7);
  texts.forEach((one, position) => {
    const hashes = shingleHashes(one);
    const set = { signature: minHashSignature(hashes), sketch: sketchOf(hashes) };
    const similarities = texts
      .slice(0, position)
      .map((other) => sketchSimilarity(sketchOf(hashes), sketchOf(shingleHashes(other))));
    const best = Math.max(0, ...similarities);
    const found = index.find(set);
    expect(found !== null).toBe(best >= 0.7);
    if (found) expect(similarities[found.entry]).toBeCloseTo(found.similarity, 12);
    index.add(set);
  });
});

describe('the transform', () => {
  const conversations = [
    chat('Can I return my shoes?', 'Yes, within thirty days, if they were not worn.'),
    chat('can I return my shoes', 'Yes, within thirty days, if they were not worn!'),
    chat('Can I return my shoes?', 'Yes, within thirty days if they have not been worn.'),
    chat('Where is my parcel?', 'It will arrive tomorrow.'),
  ];

  test('keeps the first conversation, and reports what each of the others repeats', async () => {
    const transform = createDeduplicateTransform({ threshold: 0.6 });
    const kept = await collect(applyTransforms(sourceOf(conversations), [transform]).conversations());
    expect(kept.map(({ origin }) => origin.index)).toEqual([0, 3]);
    expect(transform.report.removed).toEqual({ 'exact-duplicate': 1, 'near-duplicate': 1 });
    expect(transform.report.removals[0]?.detail).toBe('the same as memory.jsonl:1');
    expect(transform.report.removals[1]?.detail).toMatch(/^\d\d % similar to memory\.jsonl:1$/);
    // A second pass has no state of the first.
    expect(await collect(applyTransforms(sourceOf(conversations), [transform]).conversations())).toHaveLength(2);
  });

  test('reports or removes conversations of the evaluation data', async () => {
    const folder = temporaryFolder();
    writeInto(folder, 'eval.jsonl', asLines([{ messages: conversations[3]?.messages }]));
    const run = (onLeak: 'error' | 'drop') => {
      const transform = createDeduplicateTransform({ against: ['eval.jsonl'], onLeak, near: false }, folder);
      return collect(applyTransforms(sourceOf(conversations), [transform]).conversations());
    };
    await expect(run('error')).rejects.toMatchObject({
      code: 'DATA_LEAKAGE',
      problems: [{ place: { file: 'memory.jsonl', line: 4 } }],
    });
    expect((await run('drop')).map(({ origin }) => origin.index)).toEqual([0, 2]);
    expect(
      await findLeaks(sourceOf(conversations), sourceOf([conversations[3] as (typeof conversations)[number]])),
    ).toMatchObject({ count: 1, first: [{ train: { index: 3 }, eval: { index: 0 }, similarity: 1 }] });
  });
});

test('replies with other reasoning are not duplicates', () => {
  const fingerprint = (reasoning: string) =>
    fingerprintOf(
      { ...text('4'), messages: [{ role: 'assistant', content: '4', reasoning_content: reasoning }] },
      defaultDuplicateOptions,
    );
  expect(fingerprint('add them')).not.toEqual(fingerprint('count upwards'));
  expect(fingerprint('add them')).toEqual(fingerprint('Add them.'));
});

test('decontamination finds a sequence of words of a benchmark, in English and Chinese', async () => {
  const folder = temporaryFolder();
  writeInto(
    folder,
    'a.jsonl',
    asLines([
      {
        prompt: 'Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.',
        completion: '72',
      },
    ]),
  );
  writeInto(folder, 'b.csv', 'text\n小明有五个苹果，他吃了两个，还剩几个苹果？\n');
  const transform = createDecontaminateTransform({ benchmarks: ['a.jsonl', 'b.csv'], words: 10 }, folder);
  const kept = await collect(
    applyTransforms(
      sourceOf([
        chat('Solve: natalia sold clips to 48 of her friends in April, and then she slept.', 'ok'),
        chat('小明有五个苹果，他吃了两个。', '好'),
        chat('Natalia sold clips.', 'Did she?'),
      ]),
      [transform],
    ).conversations(),
  );
  expect(kept.map(({ origin }) => origin.index)).toEqual([2]);
  expect(transform.report.removals.map(({ detail }) => detail?.replace(folder, ''))).toEqual([
    expect.stringMatching(/has 10 consecutive words in common with .a\.jsonl:1/),
    expect.stringMatching(/b\.csv:2/),
  ]);
});
