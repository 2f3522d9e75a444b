import { describe, expect, test } from 'vitest';
import { findRepeats } from './repeats.js';

/** Numbers below `below`, always the same for a seed (a linear congruence). */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const limits = { leastPeriod: 4, leastCount: 3, leastSaved: 20 };
/** Items that come once: negative, each another. */
const unlike = (count: number, from: number): number[] =>
  Array.from({ length: count }, (_, index) => -(from + index) - 1);
const times = (count: number, piece: readonly number[]): number[] => Array.from({ length: count }, () => piece).flat();

describe('findRepeats', () => {
  test('finds what stands three times or more in a row, with what there is of one more', () => {
    const piece = Array.from({ length: 15 }, (_, index) => index);
    const letters = [...unlike(7, 0), ...times(4, piece), 0, 1, 2, ...unlike(5, 100), ...times(2, piece)];
    expect(findRepeats(Int32Array.from(letters), limits)).toEqual([{ start: 7, period: 15, end: 7 + 63 }]);
  });

  test('takes the shorter of two periods, and layers rather than what repeats inside of one', () => {
    const inside = [1, 2, 3, 4, 5];
    const layer = [...times(3, inside), ...Array.from({ length: 20 }, (_, index) => 100 + index)];
    expect(findRepeats(Int32Array.from(times(9, layer)), limits)).toEqual([{ start: 0, period: 35, end: 315 }]);
  });

  test('finds several, and none where nothing is saved', () => {
    const [one, other] = [
      Array.from({ length: 14 }, (_, index) => index),
      Array.from({ length: 17 }, (_, index) => 50 + index),
    ];
    const letters = Int32Array.from([
      ...times(3, one),
      ...unlike(2, 0),
      ...times(5, other),
      ...unlike(2, 10),
      ...times(3, one),
    ]);
    expect(findRepeats(letters, limits).map(({ start, period, end }) => [start, period, end])).toEqual([
      [44, 17, 129],
      [0, 14, 42],
      [131, 14, 173],
    ]);
    expect(findRepeats(letters, { ...limits, leastSaved: 69 })).toEqual([]);
    expect(findRepeats(Int32Array.of(), limits)).toEqual([]);
  });

  test('of any sequence it gives stretches that are what they are said to be, and do not overlap', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const roll = dice(seed);
      const letters: number[] = [];
      while (letters.length < 400) {
        const piece = Array.from({ length: 3 + roll(30) }, () => roll(5));
        letters.push(...times(1 + roll(6), piece), ...Array.from({ length: roll(12) }, () => roll(9)));
      }
      const found = findRepeats(Int32Array.from(letters), limits);
      const taken = new Set<number>();
      for (const { start, period, end } of found) {
        expect(period).toBeGreaterThanOrEqual(limits.leastPeriod);
        expect(end - start).toBeGreaterThanOrEqual(3 * period);
        expect(end - start - period).toBeGreaterThanOrEqual(limits.leastSaved);
        for (let index = start; index < end; index++) {
          expect(taken.has(index)).toBe(false);
          taken.add(index);
          if (index >= start + period) expect(letters[index]).toBe(letters[index - period]);
        }
      }
    }
  });
});
