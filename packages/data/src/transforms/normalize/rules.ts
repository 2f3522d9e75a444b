/** Normalization rules: pure, idempotent functions of a text. */

const HAN = '\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\u3001-\\u303f';

/** Returns canonical composition (`é` as one character), or compatibility composition, which also expands ㎏ and ①. */
export const normalizeUnicode =
  (form: 'NFC' | 'NFKC') =>
  (text: string): string =>
    text.normalize(form);

// A zero-width joiner has a meaning after an emoji, a combining mark or an Arabic letter.
const invisible =
  /[\u200b\u2060\ufeff\u00ad]|(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\p{M}\p{Script=Arabic}])\u200d/gu;
const control = /(?![\t\n])\p{Cc}/gu;

/** Removes control and zero-width characters, except for joiners in emoji and in Indic and Arabic scripts. */
export const removeInvisible = (text: string): string =>
  text.replace(/\r\n?/g, '\n').replace(control, '').replace(invisible, '');

const fullWidthWord = /[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]/g;

/** Converts full-width letters and digits (`Ａ１`) to half width (`A1`). */
export const narrowLetters = (text: string): string =>
  text.replace(fullWidthWord, (mark) => String.fromCharCode(mark.charCodeAt(0) - 0xfee0));

const toFullWidth: Readonly<Record<string, string>> = {
  ',': '，',
  '!': '！',
  '?': '？',
  ';': '；',
  ':': '：',
  '(': '（',
  ')': '）',
};
const toHalfWidth: Readonly<Record<string, string>> = {
  '，': ', ',
  '！': '! ',
  '？': '? ',
  '；': '; ',
  '：': ': ',
  '（': ' (',
  '）': ') ',
  '。': '. ',
  '、': ', ',
  '％': '%',
  '＆': '&',
  '＋': '+',
  '－': '-',
  '／': '/',
  '＝': '=',
  '＠': '@',
  '＃': '#',
  '＊': '*',
};
const halfAfterHan = new RegExp(`(?<=[${HAN}])[ \\t]*([,!?;:])(?!//)[ \\t]*(?=[${HAN}\\n]|$)`, 'gu');
const bracketsInHan = new RegExp(`(?<=[${HAN}])\\(([^()\\n${HAN}]*[${HAN}][^()\\n]*)\\)`, 'gu');
const stopAfterHan = new RegExp(`(?<=[${HAN}）”’」』])\\.(?=[${HAN}\\n]|$)`, 'gu');
const fullBetweenLatin = /(?<=[A-Za-z0-9)"'])[，！？；：（）。、](?=[ \t]*(?:[A-Za-z0-9("'\n]|$))/g;
const han = new RegExp(`[${HAN}]`, 'u');

/** Converts punctuation to the width of the text around it: `你好,世界` → `你好，世界`, `Hello，world` → `Hello, world`. */
export function fitPunctuation(text: string): string {
  let fitted = text;
  if (han.test(text)) {
    fitted = fitted
      .replace(halfAfterHan, (_, mark: string) => toFullWidth[mark] ?? mark)
      .replace(bracketsInHan, '（$1）')
      .replace(stopAfterHan, '。');
  }
  return fitted.replace(fullBetweenLatin, (mark) => toHalfWidth[mark] ?? mark);
}

/** Converts curly quotes and primes to straight quotes, except in Chinese and Japanese text, where they are correct. */
export function straightenQuotes(text: string): string {
  if (han.test(text)) return text;
  return text.replace(/[\u2018\u2019\u201a\u201b\u2032]/g, "'").replace(/[\u201c-\u201f\u2033]/g, '"');
}

const betweenHan = new RegExp(`(?<=[${HAN}，。！？；：、])[ \\t]+(?=[${HAN}，。！？；：、])`, 'gu');

/**
 * Replaces repeated and special spaces by one space. Removes spaces between Chinese characters, before closing
 * punctuation and at line ends, and more than two empty lines.
 */
export function tidySpaces(text: string): string {
  return text
    .replace(/[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/g, ' ')
    .replace(/[\u2028\u2029]/g, '\n')
    .replace(betweenHan, '')
    .replace(/(?<=\S)[ \t]+(?=[,.!?;:](?:\s|$))/g, '')
    .replace(/(?<=\S)[ \t]{2,}(?=\S)/g, ' ')
    .replace(/(?<![ \t])[ \t]+$/gm, '')
    .replace(/\n{4,}/g, '\n\n\n')
    .trim();
}

/** Replaces repeated marks by one: `!!!!` → `!`, `。。。` → `……`, `.....` → `...`. Mixed marks (`?!`) are kept. */
export function limitRepeatedMarks(text: string): string {
  return text
    .replace(/([!?！？,，;；、~～])\1+/g, '$1')
    .replace(/。{2,}|…{3,}/g, '……')
    .replace(/\.{4,}/g, '...')
    .replace(/-{4,}(?=\S)|(?<=\S)-{4,}/g, '---');
}
