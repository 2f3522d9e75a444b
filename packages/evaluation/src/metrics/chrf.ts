import { accumulate, type Accumulator } from './accumulate.js';
import { countsOf, ngramsOf } from './tokens.js';

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

/** Counts of the n-grams of one order. */
interface OrderCounts {
  readonly split: (text: string) => string[];
  readonly order: number;
  predicted: number;
  expected: number;
  matches: number;
}

/** Accumulates {@link chrf}: the counts of each order. */
export function createChrf({ wordOrder = 0 }: ChrfOptions = {}): Accumulator<Pair> {
  const countsUpTo = (most: number, split: OrderCounts['split']): OrderCounts[] =>
    Array.from({ length: most }, (_, index) => ({ split, order: index + 1, predicted: 0, expected: 0, matches: 0 }));
  const all = [...countsUpTo(ORDER, charactersOf), ...countsUpTo(wordOrder, wordsOf)];
  return {
    add: ({ prediction, reference }) => {
      for (const counts of all) {
        const expectedNgrams = ngramsOf(counts.split(reference), counts.order);
        const predictedNgrams = ngramsOf(counts.split(prediction), counts.order);
        counts.expected += expectedNgrams.length;
        // If the reference is too short for this order, the prediction is not counted.
        if (expectedNgrams.length > 0) counts.predicted += predictedNgrams.length;
        const available = countsOf(expectedNgrams);
        for (const [ngram, count] of countsOf(predictedNgrams))
          counts.matches += Math.min(count, available.get(ngram) ?? 0);
      }
    },
    result: () => {
      let [precision, recall, orders] = [0, 0, 0];
      for (const { predicted, expected, matches } of all) {
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
  accumulate(createChrf(options), pairs);
