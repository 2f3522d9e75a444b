import { describe, expect, it } from 'vitest';
import { IGNORED_LABEL, type Batch } from '../contract/data.js';
import { fingerprint, shardBatch, shardBatches } from './shard-batches.js';

interface Document {
  readonly ids: readonly number[];
  /** Positions that are learned. */
  readonly learned: readonly number[];
}

/** `length` tokens that are found again by their first; the last is learned. */
const document = (first: number, length: number, learned: readonly number[] = [length - 1]): Document => ({
  ids: Array.from({ length }, (_, index) => first + index),
  learned,
});

function batchOf(rows: readonly (readonly Document[])[], weighted = false): Batch {
  const length = Math.max(...rows.map((row) => row.reduce((sum, { ids }) => sum + ids.length, 0)));
  const fill = (of: (document: Document, segment: number) => readonly number[], padding: number): number[] =>
    rows.flatMap((row) => {
      const values = row.flatMap(of);
      return [...values, ...Array.from({ length: length - values.length }, () => padding)];
    });
  const documents = rows.flat();
  return {
    rows: rows.length,
    length,
    ids: Int32Array.from(fill(({ ids }) => ids, 0)),
    labels: Int32Array.from(
      fill(({ ids, learned }) => ids.map((id, index) => (learned.includes(index) ? id : IGNORED_LABEL)), IGNORED_LABEL),
    ),
    segmentIds: Int32Array.from(
      rows.flatMap((row) => {
        const values = row.flatMap(({ ids }, index) => ids.map(() => index + 1));
        return [...values, ...Array.from({ length: length - values.length }, () => 0)];
      }),
    ),
    positionIds: Int32Array.from(fill(({ ids }) => ids.map((_, index) => index), 0)),
    ...(weighted ? { weights: Float32Array.from(fill(({ ids }) => ids.map((id) => id / 8), 1)) } : {}),
    samples: documents.length,
    tokens: documents.reduce((sum, { ids }) => sum + ids.length, 0),
    supervisedTokens: documents.reduce(
      (sum, { learned }) => sum + learned.filter((position) => position > 0).length,
      0,
    ),
  };
}

/** The documents of batches as text, in the order of their first token: what they are made of, wherever they stand. */
function contents(batches: readonly (Batch | null)[]): string[] {
  const found: { readonly first: number; readonly text: string }[] = [];
  for (const batch of batches) {
    if (batch === null) continue;
    for (let row = 0; row < batch.rows; row++) {
      const segments = [...new Set(batch.segmentIds.subarray(row * batch.length, (row + 1) * batch.length))].filter(
        (segment) => segment !== 0,
      );
      for (const segment of segments) {
        const positions = Array.from({ length: batch.length }, (_, column) => row * batch.length + column).filter(
          (position) => batch.segmentIds[position] === segment,
        );
        const text = positions
          .map((position) =>
            [
              batch.ids[position],
              batch.labels[position],
              batch.positionIds[position],
              batch.weights?.[position] ?? 1,
            ].join(':'),
          )
          .join(' ');
        found.push({ first: batch.ids[positions[0] ?? 0] ?? 0, text });
      }
    }
  }
  return found.toSorted((a, b) => a.first - b.first).map(({ text }) => text);
}

const present = (parts: readonly (Batch | null)[]): Batch[] => parts.flatMap((part) => part ?? []);

describe('shareBatch', () => {
  const rows = [[document(10, 5)], [document(20, 9)], [document(30, 3)], [document(40, 7)], [document(50, 4)]];
  const packedRows = [[document(10, 5), document(20, 4)], [document(30, 6), document(40, 3)], [document(50, 9)]];

  it.each([[1], [2], [3], [5]])('gives %d workers every document once, with labels, positions and weights', (count) => {
    for (const batch of [batchOf(rows), batchOf(packedRows), batchOf(rows, true)])
      expect(contents(shardBatch(batch, count))).toEqual(contents([batch]));
  });

  it('counts what a part holds', () => {
    const batch = batchOf(packedRows);
    const parts = present(shardBatch(batch, 2));
    for (const count of ['samples', 'tokens', 'supervisedTokens'] as const)
      expect(parts.reduce((sum, part) => sum + part[count], 0)).toBe(batch[count]);
  });

  it('deals out by tokens, the longest first: 9 | 7, then 9 | 12, 13 | 12, 13 | 15', () => {
    expect(shardBatch(batchOf(rows), 2).map((part) => part?.tokens)).toEqual([13, 15]);
  });

  it('pads a part to its own longest document only, and leaves one document a row where that was so', () => {
    const [first, second] = present(shardBatch(batchOf(rows), 2));
    expect([first?.rows, first?.length]).toEqual([2, 9]);
    expect([second?.rows, second?.length]).toEqual([3, 7]);
  });

  it('packs documents again where they were packed', () => {
    const [first, second] = present(shardBatch(batchOf(packedRows), 2));
    // 9, 6, 5, 4, 3: 9 4 | 6 5 3, in rows as long as the longest.
    expect([first?.rows, first?.length]).toEqual([2, 9]);
    expect([second?.rows, second?.length]).toEqual([3, 6]);
  });

  it('leaves out what teaches nothing; a worker may have no part, but not the first', () => {
    // A label at the first token counts for nothing.
    const batch = batchOf([[document(10, 9, [0])], [document(20, 3)], [document(30, 8, [])]]);
    const parts = shardBatch(batch, 2);
    expect(contents(parts)).toEqual(contents([batchOf([[document(20, 3)]])]));
    expect(parts.map((part) => part === null)).toEqual([false, true]);
  });
});

describe('shareStep', () => {
  const batches = [10, 40, 70, 100].map((first) => batchOf([[document(first, 4)], [document(first + 10, 6)]]));

  it('gives out whole microbatches where they go round', () => {
    expect(shardBatches(batches, { count: 2 })).toEqual([
      [batches[0], batches[1]],
      [batches[2], batches[3]],
    ]);
  });

  it('deals each out where they do not, and loses nothing', () => {
    for (const count of [3, 5, 7]) expect(contents(shardBatches(batches, { count }).flat())).toEqual(contents(batches));
  });
});

it('fingerprints tell steps apart', () => {
  const one = batchOf([[document(10, 4)]]);
  expect(fingerprint([one])).toBe(fingerprint([batchOf([[document(10, 4)]])]));
  expect(fingerprint([one])).not.toBe(fingerprint([batchOf([[document(11, 4)]])]));
  expect(fingerprint([one])).not.toBe(fingerprint([batchOf([[document(10, 4, [1])]])]));
});
