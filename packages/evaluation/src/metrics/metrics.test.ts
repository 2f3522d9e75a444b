import { expect, test } from 'vitest';
import { distinct, repetition } from './diversity.js';
import { exactMatch } from './exact-match.js';

test('a text that loops repeats itself, one that does not does not', () => {
  // a b a b a b: five pairs of words, of which two are different.
  expect(repetition(['a b a b a b'], 2)).toBeCloseTo(1 - 2 / 5, 12);
  expect(repetition(['a b c d e'], 2)).toBe(0);
  // Too short to repeat anything: not counted in the mean.
  expect(repetition(['a b a b a b', 'a b'], 2)).toBeCloseTo(0.6, 12);
  expect(repetition([], 4)).toBe(0);
});

test('distinct-n counts over all texts, but within each', () => {
  // a b | b a: of two pairs two are different; of four words two.
  expect(distinct(['a b', 'b a'], 2)).toBe(1);
  expect(distinct(['a b', 'b a'], 1)).toBe(0.5);
  expect(distinct([''], 1)).toBe(0);
});

test('exact match looks past white space, and past what it is told to', () => {
  const pairs = [
    { prediction: ' Yes,  it is. ', reference: 'Yes, it is.' },
    { prediction: 'yes it is', reference: 'Yes, it is.' },
  ];
  expect(exactMatch(pairs)).toBe(0.5);
  expect(exactMatch(pairs, { ignoreCase: true })).toBe(0.5);
  expect(exactMatch(pairs, { ignoreCase: true, ignorePunctuation: true })).toBe(1);
});
