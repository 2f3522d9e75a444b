import { accumulate, createMean, type Accumulator } from './accumulate.js';
import { ngramsOf, wordsOf } from './tokens.js';

/** Returns a new string for an n-gram: a word that was cut from a text can keep the whole text in memory. */
const detached = (ngram: string): string => [ngram, ''].join('\u0000');

/** Accumulates {@link distinct}. Its memory grows with the number of distinct n-grams. */
export function createDistinct(order: number): Accumulator<string> {
  const seen = new Set<string>();
  let total = 0;
  return {
    add: (text) => {
      for (const ngram of ngramsOf(wordsOf(text), order)) {
        seen.add(detached(ngram));
        total++;
      }
    },
    result: () => (total === 0 ? 0 : seen.size / total),
  };
}

/**
 * Returns distinct-n (Li et al. 2016): the number of distinct n-grams in all texts, divided by the number of all
 * n-grams. N-grams do not span texts. Returns 0 without n-grams.
 */
export const distinct = (texts: readonly string[], order: number): number => accumulate(createDistinct(order), texts);

/** Accumulates {@link repetition}. */
export function createRepetition(order: number): Accumulator<string> {
  const mean = createMean(0);
  return {
    add: (text) => {
      const ngrams = ngramsOf(wordsOf(text), order);
      if (ngrams.length > 1) mean.add(1 - new Set(ngrams).size / ngrams.length);
    },
    result: () => mean.result(),
  };
}

/**
 * Returns the share of repeated n-grams within a text (rep-n, Welleck et al. 2020), averaged over the texts with at
 * least two n-grams. Close to 1 for a model that loops.
 */
export const repetition = (texts: readonly string[], order: number): number =>
  accumulate(createRepetition(order), texts);
