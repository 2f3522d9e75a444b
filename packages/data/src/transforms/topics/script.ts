/** Scripts whose words differ, so that texts in them have no terms in common. Han is counted as Chinese. */
const scripts: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['Japanese', /[\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ['Korean', /\p{Script=Hangul}/gu],
  ['Chinese', /\p{Script=Han}/gu],
  ['Cyrillic', /\p{Script=Cyrillic}/gu],
  ['Arabic', /\p{Script=Arabic}/gu],
  ['Devanagari', /\p{Script=Devanagari}/gu],
  ['Greek', /\p{Script=Greek}/gu],
  ['Thai', /\p{Script=Thai}/gu],
  ['Hebrew', /\p{Script=Hebrew}/gu],
];

/** The least share of letters that decides. An ideograph or kana stands for several Latin letters. */
const LEAST_SHARE: Readonly<Record<string, number>> = { Japanese: 0.1, Chinese: 0.2 };

/** Returns the script of a text, by its letters: `Latin` for all that is not another one. */
export function scriptOf(text: string): string {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  const found = scripts.find(([name, pattern]) => {
    const count = text.match(pattern)?.length ?? 0;
    return count > 0 && count / letters > (LEAST_SHARE[name] ?? 0.4);
  });
  return found?.[0] ?? 'Latin';
}
