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
  it('keeps the tokens up to the last output position of a segment and computes equal beginnings once', () => {
    const input = packed([5, 6, 7, 8, 5, 6, 9, 8], [1, 1, 1, 1, 2, 2, 2, 2], [0, 1, 2, 3, 0, 1, 2, 3]);
    const found = distinctTokens(input, Int32Array.of(2, 6));
    expect([...(found?.cellOf ?? [])]).toEqual([0, 1, 2, 6]);
    // No output depends on cells 3 and 7, so they contain token 0.
    expect([...(found?.tokenOf ?? [])]).toEqual([0, 1, 2, 0, 0, 1, 3, 0]);
  });

  it('separates equal tokens with different predecessors', () => {
    const input = packed(
      [5, 6, 7, 4, 6, 7, 0, 0, 0, 0],
      [1, 1, 1, 2, 2, 2, 0, 0, 0, 0],
      [0, 1, 2, 0, 1, 2, 0, 0, 0, 0],
      1,
    );
    expect([...(distinctTokens(input, Int32Array.of(2, 5))?.cellOf ?? [])]).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('shares nothing if the beginning of a text is elsewhere', () => {
    const input = packed([5, 6, 5, 6, 0, 0], [1, 1, 2, 2, 0, 0], [0, 1, 8, 9, 0, 0]);
    expect([...(distinctTokens(input, Int32Array.of(1, 3))?.cellOf ?? [])]).toEqual([0, 1, 2, 3]);
  });

  it('skips segments without output positions and returns null if it would save little', () => {
    expect([
      ...(distinctTokens(packed([5, 6, 7, 8], [1, 1, 2, 2], [0, 1, 0, 1]), Int32Array.of(3))?.cellOf ?? []),
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
