const stopWords = new Set(
  (
    'the a an and or but of to in on at for with by from as is are was were be been am do does did have has had ' +
    'it its this that these those i you he she we they me him her us them my your his our their what who how why ' +
    'when where which not no yes can could will would should may might must if then than so there here about ' +
    'into just very more some any all also only over such too out up down get got make like one'
  ).split(' '),
);

/** Returns the terms of a text: words without stop words, and pairs of Chinese, Japanese or Korean characters. */
export function termsOf(text: string): string[] {
  const lower = text.normalize('NFKC').toLowerCase();
  const words = (lower.match(/[\p{L}\p{M}][\p{L}\p{M}\p{N}'’-]*/gu) ?? []).flatMap((word) => {
    if (!/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u.test(word))
      return word.length > 2 && !stopWords.has(word) ? [word] : [];
    const characters = [...word];
    return characters.length < 2
      ? []
      : characters.slice(1).map((character, index) => `${characters[index] ?? ''}${character}`);
  });
  return words;
}

/** Returns every word and every Chinese, Japanese or Korean character of a text. */
export function unitsOf(text: string): string[] {
  return (
    text
      .normalize('NFKC')
      .toLowerCase()
      .match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]|[\p{L}\p{M}\p{N}'’]+/gu) ?? []
  );
}
