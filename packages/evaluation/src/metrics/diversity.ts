import { ngramsOf, wordsOf } from './tokens.js';

/**
 * distinct-n (Li et al. 2016): different n-grams over all texts ÷ n-grams over all texts; none goes beyond one text. 0
 * where there are none.
 */
export function distinct(texts: readonly string[], order: number): number {
  const all = texts.flatMap((text) => ngramsOf(wordsOf(text), order));
  return all.length === 0 ? 0 : new Set(all).size / all.length;
}

/**
 * How much a text repeats itself (rep-n, Welleck et al. 2020): the share of its n-grams that were there before in it,
 * averaged over the texts that are long enough to have two. A model that loops comes near 1.
 */
export function repetition(texts: readonly string[], order: number): number {
  const shares = texts
    .map((text) => ngramsOf(wordsOf(text), order))
    .filter(({ length }) => length > 1)
    .map((ngrams) => 1 - new Set(ngrams).size / ngrams.length);
  return shares.length === 0 ? 0 : shares.reduce((sum, share) => sum + share, 0) / shares.length;
}
