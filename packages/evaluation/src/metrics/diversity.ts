import { ngramsOf, wordsOf } from './tokens.js';

/**
 * Returns distinct-n (Li et al. 2016): the number of distinct n-grams in all texts, divided by the number of all
 * n-grams. N-grams do not span texts. Returns 0 without n-grams.
 */
export function distinct(texts: readonly string[], order: number): number {
  const all = texts.flatMap((text) => ngramsOf(wordsOf(text), order));
  return all.length === 0 ? 0 : new Set(all).size / all.length;
}

/**
 * Returns the share of repeated n-grams within a text (rep-n, Welleck et al. 2020), averaged over the texts with at
 * least two n-grams. Close to 1 for a model that loops.
 */
export function repetition(texts: readonly string[], order: number): number {
  const shares = texts
    .map((text) => ngramsOf(wordsOf(text), order))
    .filter(({ length }) => length > 1)
    .map((ngrams) => 1 - new Set(ngrams).size / ngrams.length);
  return shares.length === 0 ? 0 : shares.reduce((sum, share) => sum + share, 0) / shares.length;
}
