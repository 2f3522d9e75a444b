import { describe, expect, it } from 'vitest';
import { IGNORED_LABEL, type Batch } from '../contract/data.js';
import { fingerprint, shardBatch, shardBatches } from './shard-batches.js';

interface Document {
  readonly ids: readonly number[];
  /** Positions of target tokens. */
  readonly targets: readonly number[];
}

/** Returns a document of `length` consecutive ids, from `first` on. By default, the last token is the only target. */
const document = (first: number, length: number, targets: readonly number[] = [length - 1]): Document => ({
  ids: Array.from({ length }, (_, index) => first + index),
  targets,
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
      fill(({ ids, targets }) => ids.map((id, index) => (targets.includes(index) ? id : IGNORED_LABEL)), IGNORED_LABEL),
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
      (sum, { targets }) => sum + targets.filter((position) => position > 0).length,
      0,
    ),
  };
}

/** Returns the documents of batches as text, sorted by their first token and independent of their rows. */
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

const present = (shards: readonly (Batch | null)[]): Batch[] => shards.flatMap((shard) => shard ?? []);

describe('shardBatch', () => {
  const rows = [[document(10, 5)], [document(20, 9)], [document(30, 3)], [document(40, 7)], [document(50, 4)]];
  const packedRows = [[document(10, 5), document(20, 4)], [document(30, 6), document(40, 3)], [document(50, 9)]];

  it.each([[1], [2], [3], [5]])('gives %d workers every document once, with labels, positions and weights', (count) => {
    for (const batch of [batchOf(rows), batchOf(packedRows), batchOf(rows, true)])
      expect(contents(shardBatch(batch, count))).toEqual(contents([batch]));
  });

  it('counts the samples and tokens of each shard', () => {
    const batch = batchOf(packedRows);
    const shards = present(shardBatch(batch, 2));
    for (const count of ['samples', 'tokens', 'supervisedTokens'] as const)
      expect(shards.reduce((sum, shard) => sum + shard[count], 0)).toBe(batch[count]);
  });

  it('assigns documents by tokens, longest first: 9 | 7, then 9 | 12, 13 | 12, 13 | 15', () => {
    expect(shardBatch(batchOf(rows), 2).map((shard) => shard?.tokens)).toEqual([13, 15]);
  });

  it('pads a shard to its own longest document, and keeps one document per row', () => {
    const [first, second] = present(shardBatch(batchOf(rows), 2));
    expect([first?.rows, first?.length]).toEqual([2, 9]);
    expect([second?.rows, second?.length]).toEqual([3, 7]);
  });

  it('packs the documents of a packed batch', () => {
    const [first, second] = present(shardBatch(batchOf(packedRows), 2));
    // 9, 6, 5, 4, 3: 9 4 | 6 5 3, in rows as long as the longest.
    expect([first?.rows, first?.length]).toEqual([2, 9]);
    expect([second?.rows, second?.length]).toEqual([3, 6]);
  });

  it('skips documents without a target; any shard but the first may be empty', () => {
    // The label of a first token does not count.
    const batch = batchOf([[document(10, 9, [0])], [document(20, 3)], [document(30, 8, [])]]);
    const shards = shardBatch(batch, 2);
    expect(contents(shards)).toEqual(contents([batchOf([[document(20, 3)]])]));
    expect(shards.map((shard) => shard === null)).toEqual([false, true]);
  });
});

describe('shardBatches', () => {
  const batches = [10, 40, 70, 100].map((first) => batchOf([[document(first, 4)], [document(first + 10, 6)]]));

  it('assigns complete microbatches if they divide evenly', () => {
    expect(shardBatches(batches, { count: 2 })).toEqual([
      [batches[0], batches[1]],
      [batches[2], batches[3]],
    ]);
  });

  it('splits each microbatch otherwise, without losing a document', () => {
    for (const count of [3, 5, 7]) expect(contents(shardBatches(batches, { count }).flat())).toEqual(contents(batches));
  });
});

it('fingerprints of different steps differ', () => {
  const one = batchOf([[document(10, 4)]]);
  expect(fingerprint([one])).toBe(fingerprint([batchOf([[document(10, 4)]])]));
  expect(fingerprint([one])).not.toBe(fingerprint([batchOf([[document(11, 4)]])]));
  expect(fingerprint([one])).not.toBe(fingerprint([batchOf([[document(10, 4, [1])]])]));
});
