/** Scripts without spaces between words. Each character counts as a word. */
const unspaced = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}]/u;

/**
 * Returns the words of a text: it is split at white space or, if more than half of it is in a script without spaces,
 * into characters.
 */
export function wordsOf(text: string): string[] {
  const characters = [...text].filter((character) => character.trim() !== '');
  const dense = characters.filter((character) => unspaced.test(character)).length;
  return dense * 2 > characters.length ? characters : text.split(/\s+/).filter((word) => word !== '');
}

/** Returns all n-grams of `order` words, in order. */
export function ngramsOf(words: readonly string[], order: number): string[] {
  return Array.from({ length: Math.max(0, words.length - order + 1) }, (_, start) =>
    words.slice(start, start + order).join('\u0000'),
  );
}

/** Returns the number of occurrences of each item. */
export function countsOf(items: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return counts;
}

/** Returns the number of items that two lists have in common, each as often as it occurs in both. */
export function commonCount(own: readonly string[], others: readonly string[]): number {
  const available = countsOf(others);
  let common = 0;
  for (const [item, count] of countsOf(own)) common += Math.min(count, available.get(item) ?? 0);
  return common;
}
