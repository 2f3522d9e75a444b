import { describe, expect, test } from 'vitest';
import { findRepeats } from './repeats.js';
import { seededIntegers } from './test-support.js';

const limits = { minPeriod: 4, minCount: 3, minSaved: 20 };
/** Returns items that occur once: distinct negative numbers. */
const unique = (count: number, from: number): number[] =>
  Array.from({ length: count }, (_, index) => -(from + index) - 1);
const times = (count: number, period: readonly number[]): number[] =>
  Array.from({ length: count }, () => period).flat();

describe('findRepeats', () => {
  test('finds a period that occurs three times or more in a row, and an incomplete one at the end', () => {
    const period = Array.from({ length: 15 }, (_, index) => index);
    const symbols = [...unique(7, 0), ...times(4, period), 0, 1, 2, ...unique(5, 100), ...times(2, period)];
    expect(findRepeats(Int32Array.from(symbols), limits)).toEqual([{ start: 7, period: 15, end: 7 + 63 }]);
  });

  test('prefers the shorter of two periods, and layers to repeats within a layer', () => {
    const inside = [1, 2, 3, 4, 5];
    const layer = [...times(3, inside), ...Array.from({ length: 20 }, (_, index) => 100 + index)];
    expect(findRepeats(Int32Array.from(times(9, layer)), limits)).toEqual([{ start: 0, period: 35, end: 315 }]);
  });

  test('finds several repeats, and none that saves too little', () => {
    const [short, long] = [
      Array.from({ length: 14 }, (_, index) => index),
      Array.from({ length: 17 }, (_, index) => 50 + index),
    ];
    const symbols = Int32Array.from([
      ...times(3, short),
      ...unique(2, 0),
      ...times(5, long),
      ...unique(2, 10),
      ...times(3, short),
    ]);
    expect(findRepeats(symbols, limits).map(({ start, period, end }) => [start, period, end])).toEqual([
      [44, 17, 129],
      [0, 14, 42],
      [131, 14, 173],
    ]);
    expect(findRepeats(symbols, { ...limits, minSaved: 69 })).toEqual([]);
    expect(findRepeats(Int32Array.of(), limits)).toEqual([]);
  });

  test('repeats of random sequences are correct and do not overlap', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const roll = seededIntegers(seed);
      const symbols: number[] = [];
      while (symbols.length < 400) {
        const period = Array.from({ length: 3 + roll(30) }, () => roll(5));
        symbols.push(...times(1 + roll(6), period), ...Array.from({ length: roll(12) }, () => roll(9)));
      }
      const found = findRepeats(Int32Array.from(symbols), limits);
      const taken = new Set<number>();
      for (const { start, period, end } of found) {
        expect(period).toBeGreaterThanOrEqual(limits.minPeriod);
        expect(end - start).toBeGreaterThanOrEqual(3 * period);
        expect(end - start - period).toBeGreaterThanOrEqual(limits.minSaved);
        for (let index = start; index < end; index++) {
          expect(taken.has(index)).toBe(false);
          taken.add(index);
          if (index >= start + period) expect(symbols[index]).toBe(symbols[index - period]);
        }
      }
    }
  });
});
