import { expect, test } from 'vitest';
import { distinct, repetition } from './diversity.js';
import { exactMatch } from './exact-match.js';

test('repetition is high for a text that loops and 0 for one without repeated n-grams', () => {
  // a b a b a b: five bigrams, two of which are distinct.
  expect(repetition(['a b a b a b'], 2)).toBeCloseTo(1 - 2 / 5, 12);
  expect(repetition(['a b c d e'], 2)).toBe(0);
  // A text with one bigram cannot repeat it, so the mean skips it.
  expect(repetition(['a b a b a b', 'a b'], 2)).toBeCloseTo(0.6, 12);
  expect(repetition([], 4)).toBe(0);
});

test('distinct-n counts over all texts, with n-grams within each text', () => {
  // a b | b a: two of two bigrams are distinct, and two of four words.
  expect(distinct(['a b', 'b a'], 2)).toBe(1);
  expect(distinct(['a b', 'b a'], 1)).toBe(0.5);
  expect(distinct([''], 1)).toBe(0);
});

test('exact match ignores white space and, as configured, case and punctuation', () => {
  const pairs = [
    { prediction: ' Yes,  it is. ', reference: 'Yes, it is.' },
    { prediction: 'yes it is', reference: 'Yes, it is.' },
  ];
  expect(exactMatch(pairs)).toBe(0.5);
  expect(exactMatch(pairs, { ignoreCase: true })).toBe(0.5);
  expect(exactMatch(pairs, { ignoreCase: true, ignorePunctuation: true })).toBe(1);
});
