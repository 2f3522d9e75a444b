import { countsOf, ngramsOf } from './tokens.js';

export interface Pair {
  readonly prediction: string;
  readonly reference: string;
}

const ORDER = 6;
const BETA = 2;

const charactersOf = (text: string): string[] => [...text].filter((character) => character.trim() !== '');

/**
 * chrF (Popović 2015), from 0 to 100: F₂ of character n-grams up to 6, white space left out, counted over the whole corpus; of any language. As sacrebleu
 * gives it: orders that either side has none of are left out of the mean.
 */
export function chrf(pairs: readonly Pair[]): number {
  let precision = 0;
  let recall = 0;
  let orders = 0;
  for (let order = 1; order <= ORDER; order++) {
    let predicted = 0;
    let expected = 0;
    let matches = 0;
    for (const { prediction, reference } of pairs) {
      const wanted = ngramsOf(charactersOf(reference), order);
      const found = ngramsOf(charactersOf(prediction), order);
      expected += wanted.length;
      // A reference too short for this order says nothing about the prediction.
      if (wanted.length > 0) predicted += found.length;
      const available = countsOf(wanted);
      for (const [ngram, count] of countsOf(found)) matches += Math.min(count, available.get(ngram) ?? 0);
    }
    if (predicted === 0 || expected === 0) continue;
    precision += matches / predicted;
    recall += matches / expected;
    orders++;
  }
  if (orders === 0 || precision + recall === 0) return 0;
  const [p, r] = [precision / orders, recall / orders];
  return (100 * (1 + BETA ** 2) * p * r) / (BETA ** 2 * p + r);
}
