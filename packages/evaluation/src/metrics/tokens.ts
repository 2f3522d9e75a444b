/** Scripts that are written without spaces: each character counts as a word. */
const unspaced = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}]/u;

/**
 * What a text is counted in: what stands between white space; where more than half of a text is written without spaces,
 * its characters.
 */
export function wordsOf(text: string): string[] {
  const characters = [...text].filter((character) => character.trim() !== '');
  const dense = characters.filter((character) => unspaced.test(character)).length;
  return dense * 2 > characters.length ? characters : text.split(/\s+/).filter((word) => word !== '');
}

/** Every run of `order` words, in order. */
export function ngramsOf(words: readonly string[], order: number): string[] {
  return Array.from({ length: Math.max(0, words.length - order + 1) }, (_, start) =>
    words.slice(start, start + order).join('\u0000'),
  );
}

export function countsOf(items: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return counts;
}
