import { describe, expect, it } from 'vitest';
import { distinctTokens } from './distinct-tokens.js';

const packed = (ids: readonly number[], segments: readonly number[], positions: readonly number[], rows = 1) => ({
  rows,
  length: ids.length / rows,
  ids: Int32Array.from(ids),
  segmentIds: Int32Array.from(segments),
  positionIds: Int32Array.from(positions),
});

describe('distinctTokens', () => {
  it('keeps of each segment what stands before its last wanted place, and what begins alike once', () => {
    const input = packed([5, 6, 7, 8, 5, 6, 9, 8], [1, 1, 1, 1, 2, 2, 2, 2], [0, 1, 2, 3, 0, 1, 2, 3]);
    const found = distinctTokens(input, Int32Array.of(2, 6));
    expect([...(found?.placeOf ?? [])]).toEqual([0, 1, 2, 6]);
    // Places 3 and 7 are not seen: whatever stands there is token 0.
    expect([...(found?.tokenOf ?? [])]).toEqual([0, 1, 2, 0, 0, 1, 3, 0]);
  });

  it('tells apart what has the same tokens after other ones', () => {
    const input = packed(
      [5, 6, 7, 4, 6, 7, 0, 0, 0, 0],
      [1, 1, 1, 2, 2, 2, 0, 0, 0, 0],
      [0, 1, 2, 0, 1, 2, 0, 0, 0, 0],
      1,
    );
    expect([...(distinctTokens(input, Int32Array.of(2, 5))?.placeOf ?? [])]).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('shares nothing of a piece whose text began elsewhere', () => {
    const input = packed([5, 6, 5, 6, 0, 0], [1, 1, 2, 2, 0, 0], [0, 1, 8, 9, 0, 0]);
    expect([...(distinctTokens(input, Int32Array.of(1, 3))?.placeOf ?? [])]).toEqual([0, 1, 2, 3]);
  });

  it('leaves a segment out in which nothing is wanted, and a pass alone that is nearly full', () => {
    expect([
      ...(distinctTokens(packed([5, 6, 7, 8], [1, 1, 2, 2], [0, 1, 0, 1]), Int32Array.of(3))?.placeOf ?? []),
    ]).toEqual([2, 3]);
    const long = Array.from({ length: 64 }, (_, at) => at);
    expect(
      distinctTokens(
        packed(
          long,
          long.map(() => 1),
          long,
        ),
        Int32Array.of(62),
      ),
    ).toBeNull();
  });
});
