import { readFileSync } from 'node:fs';
import '@tensorflow/tfjs-backend-cpu';
import { dispose, setBackend } from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { segmentLengths, segmentOffsets } from './flash-attention.js';

interface GoldenOffsets {
  /** Lengths of the segments of each row. */
  readonly segments: readonly (readonly number[])[];
  /** As JAX passes them to cuDNN, for one head of one feature. */
  readonly lengths: readonly (readonly number[])[];
  readonly offsets: readonly (readonly number[])[];
}

const golden = JSON.parse(
  readFileSync(new URL('../../../../test/golden/cudnn/golden.json', import.meta.url), 'utf8'),
) as { readonly places: readonly GoldenOffsets[] };

beforeAll(async () => {
  await setBackend('cpu');
});

test('consecutive equal ids of a row are a segment', () => {
  expect(segmentLengths(2, 6, Int32Array.from([1, 1, 2, 2, 2, 0, 7, 7, 7, 7, 7, 7]))).toEqual([[2, 3, 1], [6]]);
});

test('rows of one segment need no offsets', () => {
  expect(segmentOffsets([[4], [4]], { heads: 2, keyValueHeads: 1, headDim: 8 })).toBeNull();
});

test.each(golden.places.map((each) => [JSON.stringify(each.segments), each] as const))(
  'offsets of %s equal those that JAX passes to cuDNN',
  (_, { segments, lengths, offsets }) => {
    const found = segmentOffsets(segments, { heads: 6, keyValueHeads: 2, headDim: 8 });
    if (found === null) throw new Error('There are no offsets.');
    expect(found.lengths.arraySync()).toEqual(lengths);
    expect(found.queryOffsets.arraySync()).toEqual(offsets.map((row) => row.map((token) => token * 48)));
    expect(found.keyOffsets.arraySync()).toEqual(offsets.map((row) => row.map((token) => token * 16)));
    dispose({ ...found });
  },
);
