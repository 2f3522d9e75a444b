/** Each rule is a pure function of a text, and safe to apply twice. */

const HAN = '\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\u3001-\\u303f';

/**
 * Canonical composition (`é` as one character), or compatibility composition, which also unfolds ligatures, ㎏ and ①.
 */
export const normalizeUnicode =
  (form: 'NFC' | 'NFKC') =>
  (text: string): string =>
    text.normalize(form);

// After an emoji, a mark or an Arabic letter, a joiner joins something.
const invisible =
  /[\u200b\u2060\ufeff\u00ad]|(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\p{M}\p{Script=Arabic}])\u200d/gu;
const control = /(?![\t\n])\p{Cc}/gu;

/** Takes out control characters and marks of no width; the joiners of emoji and of Indic and Arabic scripts stay. */
export const removeInvisible = (text: string): string =>
  text.replace(/\r\n?/g, '\n').replace(control, '').replace(invisible, '');

const fullWidthWord = /[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]/g;

/** Full-width letters and digits (`Ａ１`) as the common ones (`A1`), in any language. */
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
const bracketsInHan = new RegExp(`(?<=[${HAN}])\\(([^()\\n]*[${HAN}][^()\\n]*)\\)`, 'gu');
const stopAfterHan = new RegExp(`(?<=[${HAN}）”’」』])\\.(?=[${HAN}\\n]|$)`, 'gu');
const fullBetweenLatin = /(?<=[A-Za-z0-9)"'])[，！？；：（）。、](?=[ \t]*(?:[A-Za-z0-9("'\n]|$))/g;
const han = new RegExp(`[${HAN}]`, 'u');

/** Punctuation as wide as the writing around it: `你好,世界` → `你好，世界`, `Hello，world` → `Hello, world`. */
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

/** Curly quotes and primes as straight ones, except in Chinese and Japanese text, where they are the right ones. */
export function straightenQuotes(text: string): string {
  if (han.test(text)) return text;
  return text.replace(/[\u2018\u2019\u201a\u201b\u2032]/g, "'").replace(/[\u201c-\u201f\u2033]/g, '"');
}

const betweenHan = new RegExp(`(?<=[${HAN}，。！？；：、])[ \\t]+(?=[${HAN}，。！？；：、])`, 'gu');

/**
 * Spaces of all kinds as one common space; none between Chinese characters, before closing punctuation, and at the ends
 * of lines; two empty lines at most.
 */
export function tidySpaces(text: string): string {
  return text
    .replace(/[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/g, ' ')
    .replace(/[\u2028\u2029]/g, '\n')
    .replace(betweenHan, '')
    .replace(/(?<=\S)[ \t]+(?=[,.!?;:](?:\s|$))/g, '')
    .replace(/(?<=\S)[ \t]{2,}(?=\S)/g, ' ')
    .replace(/[ \t]+$/gm, '')
    .replace(/\n{4,}/g, '\n\n\n')
    .trim();
}

/** One mark where the same is repeated: `!!!!` → `!`, `。。。` → `……`, `.....` → `...`. Mixed marks (`?!`) stay. */
export function limitRepeatedMarks(text: string): string {
  return text
    .replace(/([!?！？,，;；、~～])\1+/g, '$1')
    .replace(/。{2,}|…{3,}/g, '……')
    .replace(/\.{4,}/g, '...')
    .replace(/-{4,}(?=\S)|(?<=\S)-{4,}/g, '---');
}
