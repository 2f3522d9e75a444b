import { expect, it } from 'vitest';
import { TookTooLong, withinTime } from './within-time.js';

it('returns the result, and throws the error of a computation', () => {
  expect(withinTime(10, () => withinTime(10, () => 1) + 1)).toBe(2);
  const error = new TypeError('own');
  expect(() =>
    withinTime(10, () => {
      throw error;
    }),
  ).toThrow(error);
});

it('ends a regular expression that would need years', () => {
  expect(() => withinTime(0.2, () => /^(a+)+$/.test(`${'a'.repeat(60)}b`))).toThrow(TookTooLong);
  expect(withinTime(10, () => /^(a+)+$/.test('aaa'))).toBe(true);
});
