import { meanOf, scoreOf, type Additive } from './accumulate.js';
import type { Pair } from './chrf.js';
import { commonCount } from './tokens.js';

/** Returns words without case, punctuation and English articles. Each Chinese or Japanese character is a word. */
const wordsOf = (text: string): string[] =>
  text
    .toLowerCase()
    .replace(/[\p{P}\p{S}]/gu, '')
    .replace(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/gu, ' $& ')
    .split(/\s+/)
    .filter((word) => !['', 'a', 'an', 'the'].includes(word));

/** The additive form of {@link tokenF1}. */
export const additiveTokenF1: Additive<Pair> = meanOf(({ prediction, reference }) => {
  const [own, expected] = [wordsOf(prediction), wordsOf(reference)];
  // As in SQuAD: a text without words is right only if the other one has none.
  if (own.length === 0 || expected.length === 0) return own.length === expected.length ? 1 : 0;
  return (2 * commonCount(own, expected)) / (own.length + expected.length);
});

/**
 * Returns the mean F1 score of the words that reply and reference have in common (Rajpurkar et al. 2016), 0 to 1.
 * Chinese characters count as words. Returns NaN without pairs.
 */
export const tokenF1 = (pairs: readonly Pair[]): number => scoreOf(additiveTokenF1, pairs);
