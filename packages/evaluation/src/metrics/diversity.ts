import { accumulate, meanOf, scoreOf, type Accumulator, type Additive } from './accumulate.js';
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

/** The additive form of {@link repetition}. */
export const additiveRepetition = (order: number): Additive<string> =>
  meanOf((text) => {
    const ngrams = ngramsOf(wordsOf(text), order);
    return ngrams.length > 1 ? 1 - new Set(ngrams).size / ngrams.length : null;
  }, 0);

/**
 * Returns the share of repeated n-grams within a text (rep-n, Welleck et al. 2020), averaged over the texts with at
 * least two n-grams. Close to 1 for a model that loops.
 */
export const repetition = (texts: readonly string[], order: number): number =>
  scoreOf(additiveRepetition(order), texts);
