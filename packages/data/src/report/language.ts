import { franc } from 'franc-min';

const scripts: readonly (readonly [language: string, pattern: RegExp])[] = [
  ['Japanese', /[\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ['Korean', /\p{Script=Hangul}/gu],
  ['Chinese', /\p{Script=Han}/gu],
  ['Russian and others (Cyrillic)', /\p{Script=Cyrillic}/gu],
  ['Arabic', /\p{Script=Arabic}/gu],
  ['Hindi and others (Devanagari)', /\p{Script=Devanagari}/gu],
  ['Greek', /\p{Script=Greek}/gu],
  ['Thai', /\p{Script=Thai}/gu],
  ['Hebrew', /\p{Script=Hebrew}/gu],
];

const names: Readonly<Record<string, string>> = {
  eng: 'English',
  deu: 'German',
  fra: 'French',
  spa: 'Spanish',
  por: 'Portuguese',
  ita: 'Italian',
  nld: 'Dutch',
  pol: 'Polish',
  swe: 'Swedish',
  tur: 'Turkish',
  ron: 'Romanian',
  ces: 'Czech',
  hun: 'Hungarian',
  vie: 'Vietnamese',
  ind: 'Indonesian',
  rus: 'Russian',
  ukr: 'Ukrainian',
};

/** English words that are rare in other languages, to recognize short sentences. */
const english =
  /\b(?:the|is|are|you|what|and|how|your|my|of|do|does|it|that|this|who|why|can|i'm|don't|hello|yes|please)\b/gi;

/**
 * Detects the language of a text by its script and, for Latin script, its letters. Returns `other (Latin)` for texts
 * that are too short.
 */
export function languageOf(text: string): string {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  if (letters === 0) return 'no letters';
  for (const [language, pattern] of scripts) {
    const count = text.match(pattern)?.length ?? 0;
    // A Chinese character corresponds to several letters, and kana among Han characters mean Japanese.
    if (count / letters > (language === 'Chinese' ? 0.2 : language === 'Japanese' ? 0.1 : 0.4)) return language;
  }
  const words = text.split(/\s+/).length;
  if ((text.match(english)?.length ?? 0) / words > 0.12) return 'English';
  const code = franc(text, { minLength: 60, only: Object.keys(names) });
  return names[code] ?? 'other (Latin)';
}
