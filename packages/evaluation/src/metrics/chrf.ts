import { scoreOf, type Additive } from './accumulate.js';
import { commonCount, ngramsOf } from './tokens.js';

export interface Pair {
  readonly prediction: string;
  readonly reference: string;
}

const ORDER = 6;
const BETA = 2;

const charactersOf = (text: string): string[] => [...text].filter((character) => character.trim() !== '');

const punctuation = /[!-/:-@[-`{-~]/;

/** Returns words with leading or trailing punctuation separated, as sacrebleu does for chrF++. */
const wordsOf = (text: string): string[] =>
  text
    .split(/\s+/)
    .filter((word) => word !== '')
    .flatMap((word) => {
      const characters = [...word];
      if (characters.length === 1) return [word];
      if (punctuation.test(characters.at(-1) ?? '')) return [characters.slice(0, -1).join(''), characters.at(-1) ?? ''];
      return punctuation.test(characters[0] ?? '') ? [characters[0] ?? '', characters.slice(1).join('')] : [word];
    });

export interface ChrfOptions {
  /** The maximum length of word n-grams, which are counted, too: 2 for chrF++. */
  readonly wordOrder?: number;
}

/** The additive form of {@link chrf}: for each order, the n-grams of the prediction, of the reference and of both. */
export function additiveChrf({ wordOrder = 0 }: ChrfOptions = {}): Additive<Pair> {
  const countsUpTo = (most: number, predicted: readonly string[], expected: readonly string[]): number[] =>
    Array.from({ length: most }, (_, index) => index + 1).flatMap((order) => {
      const [own, others] = [ngramsOf(predicted, order), ngramsOf(expected, order)];
      // If the reference is too short for this order, the prediction is not counted.
      return [others.length > 0 ? own.length : 0, others.length, commonCount(own, others)];
    });
  return {
    statistics: ({ prediction, reference }) => [
      ...countsUpTo(ORDER, charactersOf(prediction), charactersOf(reference)),
      ...countsUpTo(wordOrder, wordsOf(prediction), wordsOf(reference)),
    ],
    score: (sums) => {
      let [precision, recall, orders] = [0, 0, 0];
      for (let start = 0; start < sums.length; start += 3) {
        const [predicted = 0, expected = 0, matches = 0] = sums.slice(start, start + 3);
        if (predicted === 0 || expected === 0) continue;
        precision += matches / predicted;
        recall += matches / expected;
        orders++;
      }
      if (orders === 0 || precision + recall === 0) return 0;
      const [p, r] = [precision / orders, recall / orders];
      return (100 * (1 + BETA ** 2) * p * r) / (BETA ** 2 * p + r);
    },
  };
}

/**
 * Returns chrF (Popović 2015) of a corpus, 0 to 100: F₂ of character n-grams up to 6, without white space, for any
 * language. With `wordOrder` 2, it is chrF++ (2017), which also counts word n-grams. Equal to sacrebleu: the mean skips
 * orders for which predictions or references have no n-grams.
 */
export const chrf = (pairs: readonly Pair[], options: ChrfOptions = {}): number =>
  scoreOf(additiveChrf(options), pairs);
