import { expect, test } from 'vitest';
import { IGNORED_LABEL, type Batch } from '../contract/data.js';
import { splitBatch } from './split-batch.js';

interface Row {
  readonly length: number;
  /** The id of the first token; the ids are consecutive. */
  readonly first: number;
  readonly targets: boolean;
}

const row = (length: number, first: number, targets = true): Row => ({ length, first, targets });

/** Returns a batch of one conversation per row, padded on the right to the longest. */
function batchOf(rows: readonly Row[]): Batch {
  const length = Math.max(...rows.map((each) => each.length));
  const flat = (inside: (each: Row, column: number) => number, padding: number): Int32Array =>
    Int32Array.from(
      rows.flatMap((each) =>
        Array.from({ length }, (_, column) => (column < each.length ? inside(each, column) : padding)),
      ),
    );
  const tokens = rows.reduce((sum, each) => sum + each.length, 0);
  return {
    rows: rows.length,
    length,
    ids: flat(({ first }, column) => first + column, 0),
    labels: flat(({ first, targets }, column) => (targets ? first + column : IGNORED_LABEL), IGNORED_LABEL),
    segmentIds: flat(() => 1, 0),
    positionIds: flat((_, column) => column, 0),
    samples: rows.length,
    tokens,
    supervisedTokens: rows.reduce((sum, each) => sum + (each.targets ? each.length - 1 : 0), 0),
  };
}

test('splits a batch into halves of similar token counts, each with all data of its rows', () => {
  const weights = Float32Array.from({ length: 5 * 400 }, (_, index) => 1 + Math.floor(index / 400));
  const batch = {
    ...batchOf([row(400, 1000), row(100, 2000), row(300, 3000), row(200, 4000), row(350, 5000)]),
    weights,
  };
  const halves = splitBatch(batch);
  // Longest first: rows 0, 4, 2, 3, 1. The first, fourth and fifth of them make one half.
  expect(
    halves.map(({ rows, length, tokens, samples, supervisedTokens }) => ({
      rows,
      length,
      tokens,
      samples,
      supervisedTokens,
    })),
  ).toEqual([
    { rows: 3, length: 400, tokens: 700, samples: 3, supervisedTokens: 697 },
    { rows: 2, length: 400, tokens: 650, samples: 2, supervisedTokens: 648 },
  ]);
  const firstOf = (half: number, of: 'ids' | 'labels' | 'segmentIds' | 'positionIds' | 'weights'): number[] => {
    const { rows, [of]: values } = halves[half] ?? batch;
    return Array.from({ length: rows }, (_, index) => values?.[index * 400 + 1] ?? NaN);
  };
  expect([firstOf(0, 'ids'), firstOf(1, 'ids')]).toEqual([
    [1001, 2001, 4001],
    [3001, 5001],
  ]);
  expect([firstOf(0, 'labels'), firstOf(1, 'labels')]).toEqual([
    [1001, 2001, 4001],
    [3001, 5001],
  ]);
  expect([firstOf(0, 'weights'), firstOf(1, 'weights')]).toEqual([
    [1, 2, 4],
    [3, 5],
  ]);
  expect([firstOf(0, 'positionIds'), firstOf(1, 'segmentIds')]).toEqual([
    [1, 1, 1],
    [1, 1],
  ]);
});

test('does not split a batch of one row, of few tokens, or with all targets in one half', () => {
  const whole = [
    batchOf([row(2000, 0)]),
    batchOf([row(500, 0), row(500, 0)]),
    batchOf([row(1500, 0), row(100, 0)]),
    batchOf([row(600, 0), row(600, 0, false)]),
  ];
  for (const batch of whole) expect(splitBatch(batch)).toEqual([batch]);
  expect(splitBatch(batchOf([row(600, 0), row(600, 0)]))).toHaveLength(2);
});
