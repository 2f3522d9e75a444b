import { describe, expect, it } from 'vitest';
import { shareRows } from './share-rows.js';

const positions = (rows: readonly (readonly number[])[], lengths: readonly number[]): number =>
  rows.length * Math.max(...rows.map((row) => row.reduce((sum, member) => sum + (lengths[member] ?? 0), 0)));

describe('shareRows', () => {
  it('keeps every row once', () => {
    const lengths = [40, 7, 33, 90, 12, 5, 61, 28];
    expect(
      shareRows(lengths)
        .flat()
        .sort((a, b) => a - b),
    ).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('fills two rows of 100 exactly', () => {
    // 100 alone, and 60 + 40 together: no position is padding.
    const rows = shareRows([100, 60, 40]);
    expect(rows.map((row) => [...row].sort((a, b) => a - b))).toEqual([[0], [1, 2]]);
    expect(positions(rows, [100, 60, 40])).toBe(200);
  });

  it('keeps rows of equal length separate, as combining them only costs attention', () => {
    expect(shareRows([50, 50, 50, 50])).toEqual([[0], [1], [2], [3]]);
  });

  it('needs fewer positions than padding, for the lengths of real conversations', () => {
    const lengths = [42, 138, 51, 37, 66, 44, 95, 39];
    expect(positions(shareRows(lengths), lengths)).toBeLessThan(0.7 * lengths.length * 138);
  });

  it('does not change a batch that has no row, one row, or an empty row', () => {
    expect(shareRows([])).toEqual([]);
    expect(shareRows([9])).toEqual([[0]]);
    expect(shareRows([9, 0, 3])).toEqual([[0], [1], [2]]);
  });
});
