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

/**
 * Returns chrF (Popović 2015) of a corpus, 0 to 100: F₂ of character n-grams up to 6, without white space, for any
 * language. With `wordOrder` 2, it is chrF++ (2017), which also counts word n-grams. Equal to sacrebleu: the mean skips
 * orders for which predictions or references have no n-grams.
 */
export function chrf(pairs: readonly Pair[], { wordOrder = 0 }: { readonly wordOrder?: number } = {}): number {
  let precision = 0;
  let recall = 0;
  let orders = 0;
  const counted = (split: (text: string) => string[], order: number): void => {
    let predicted = 0;
    let expected = 0;
    let matches = 0;
    for (const { prediction, reference } of pairs) {
      const expectedNgrams = ngramsOf(split(reference), order);
      const predictedNgrams = ngramsOf(split(prediction), order);
      expected += expectedNgrams.length;
      // If the reference is too short for this order, the prediction is not counted.
      if (expectedNgrams.length > 0) predicted += predictedNgrams.length;
      const available = countsOf(expectedNgrams);
      for (const [ngram, count] of countsOf(predictedNgrams)) matches += Math.min(count, available.get(ngram) ?? 0);
    }
    if (predicted === 0 || expected === 0) return;
    precision += matches / predicted;
    recall += matches / expected;
    orders++;
  };
  for (let order = 1; order <= ORDER; order++) counted(charactersOf, order);
  for (let order = 1; order <= wordOrder; order++) counted(wordsOf, order);
  if (orders === 0 || precision + recall === 0) return 0;
  const [p, r] = [precision / orders, recall / orders];
  return (100 * (1 + BETA ** 2) * p * r) / (BETA ** 2 * p + r);
}
