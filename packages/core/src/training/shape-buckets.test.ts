import { expect, test } from 'vitest';
import type { Batch } from '../contract/data.js';
import { padToShapeBucket, bucketLength } from './shape-buckets.js';
import { supervisedPositions } from './supervised-positions.js';

test('rounds lengths up to eight buckets per doubling, at least sixteen apart', () => {
  expect([1, 16, 17, 100, 128, 129, 255, 256, 257, 1020, 2049].map(bucketLength)).toEqual([
    16, 16, 32, 112, 128, 144, 256, 256, 288, 1024, 2304,
  ]);
});

test('a padded batch has the same targets at the same tokens, and padding has weight 0', () => {
  const length = 18;
  const ids = Int32Array.from({ length: 2 * length }, (_, index) => 100 + index);
  const batch: Batch = {
    rows: 2,
    length,
    ids,
    labels: ids.map((id, index) => (index % 3 === 0 ? -100 : id)),
    segmentIds: new Int32Array(2 * length).fill(1),
    positionIds: ids.map((_, index) => index % length),
    samples: 2,
    tokens: 2 * length,
    supervisedTokens: 22,
  };
  const before = supervisedPositions(batch);
  const after = padToShapeBucket({ batch, ...before });
  expect(after.batch.length).toBe(32);
  expect(
    [...after.batch.segmentIds.subarray(length, 32), ...after.batch.segmentIds.subarray(32 + length)].every(
      (segment) => segment === 0,
    ),
  ).toBe(true);
  const count = before.positions.length;
  expect(after.positions).toHaveLength(bucketLength(count));
  before.positions.forEach((position, index) =>
    expect(after.batch.ids[after.positions[index] ?? -1]).toBe(batch.ids[position]),
  );
  expect([...after.targets.subarray(0, count)]).toEqual([...before.targets]);
  expect([...(after.weights ?? [])]).toEqual(
    Array.from({ length: bucketLength(count) }, (_, index) => (index < count ? 1 : 0)),
  );
});
