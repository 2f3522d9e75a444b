import type { Conversation } from '@whetstone/core/contract';
import { francAll } from 'franc-min';
import { textOfRole } from '../examples/message-text.js';
import { changeProse } from '../transforms/protected-text.js';
import { functionWords } from './function-words.js';

/** The language of a text that is too short, has no letters outside code, or fits no language or several ones. */
export const UNKNOWN_LANGUAGE = 'unknown';

/**
 * Scripts, with the least share of a text's letters that decides, and the least number. A Han character corresponds to
 * several Latin letters, and Kana among Han characters mean Japanese.
 */
const scripts: readonly {
  readonly language: string;
  readonly pattern: RegExp;
  readonly share: number;
  readonly count: number;
}[] = [
  { language: 'Japanese', pattern: /[\p{Script=Hiragana}\p{Script=Katakana}]/gu, share: 0.1, count: 2 },
  { language: 'Korean', pattern: /\p{Script=Hangul}/gu, share: 0.3, count: 2 },
  { language: 'Chinese', pattern: /\p{Script=Han}/gu, share: 0.2, count: 1 },
  { language: 'Russian and others (Cyrillic)', pattern: /\p{Script=Cyrillic}/gu, share: 0.5, count: 3 },
  { language: 'Arabic', pattern: /\p{Script=Arabic}/gu, share: 0.5, count: 3 },
  { language: 'Hindi and others (Devanagari)', pattern: /\p{Script=Devanagari}/gu, share: 0.5, count: 3 },
  { language: 'Greek', pattern: /\p{Script=Greek}/gu, share: 0.5, count: 4 },
  { language: 'Thai', pattern: /\p{Script=Thai}/gu, share: 0.5, count: 3 },
  { language: 'Hebrew', pattern: /\p{Script=Hebrew}/gu, share: 0.5, count: 3 },
];

/** The languages that trigrams are compared with, by franc's codes. */
const trigramLanguages: Readonly<Record<string, string>> = {
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
  ind: 'Indonesian or Malay',
};

const withoutMarks = (word: string): string => word.normalize('NFD').replace(/\p{M}/gu, '');

/** The languages of each function word, also as it is written without accents. */
const languagesOfWord: ReadonlyMap<string, readonly string[]> = (() => {
  const known = new Map<string, Set<string>>();
  for (const [language, words] of Object.entries(functionWords))
    for (const word of words.split(/\s+/)) {
      // Vietnamese without tone marks has the words of too many languages.
      const forms = language === 'Vietnamese' ? [word] : [word, withoutMarks(word)];
      for (const form of forms) known.set(form, (known.get(form) ?? new Set<string>()).add(language));
    }
  return new Map([...known].map(([word, languages]) => [word, [...languages]]));
})();

/** The end of a statement or block, a comment, an assignment or an arrow. */
const codeShape = /[{};]$|^(?:[@#]|\/\/|\/\*|\*|--|[$>] )|[\w\])] ?(?:=|[+*-]=|==|=>|->|::) ?\S/;
/** The words that begin a statement, which ends in a mark. */
const codeKeywords: ReadonlySet<string> = new Set(
  (
    'import from def class return function const let var public private static void int for while if else elif try ' +
    'print fn func package using namespace select insert create'
  ).split(' '),
);
const statementEnd = /[:;(){}=*,]$/;
/** A letter of another script than Latin. */
const otherScript = /[^\p{Script=Latin}\P{L}]/u;

function isCodeLine(line: string): boolean {
  const trimmed = line.trim();
  const [first = ''] = trimmed.split(/\W/, 1);
  const isStatement = codeKeywords.has(first.toLowerCase()) && statementEnd.test(trimmed);
  return (isStatement || codeShape.test(trimmed)) && !otherScript.test(trimmed);
}

/** Returns the text without code and web addresses. */
function proseOf(text: string): string {
  const lines: string[] = [];
  changeProse(text, (prose) => {
    for (const line of prose.split('\n')) if (!isCodeLine(line)) lines.push(line);
    return prose;
  });
  return lines.join('\n');
}

/** A word that says nothing about the language around it: an identifier, a path, a call, markup, or with digits. */
const notWord = /[_=<>{}[\]\\/|@#$%^*;&~+]|\w[.(:]\w|[a-z][A-Z]|\d|^-/;

/** Returns the words of a text in lower case, without identifiers and markup. */
const wordsOf = (prose: string): string[] =>
  prose
    .split(/\s+/)
    .filter((word) => !notWord.test(word))
    .join(' ')
    .normalize('NFC')
    .replaceAll('’', "'")
    .toLowerCase()
    .match(/[\p{L}\p{M}]+(?:'[\p{L}\p{M}]+)*/gu)
    ?.flatMap((word) => {
      const apostrophe = word.indexOf("'");
      // An elided word ("l'adresse", "dell'anno") counts as two.
      return apostrophe === -1 || languagesOfWord.has(word)
        ? [word]
        : [word.slice(0, apostrophe + 1), word.slice(apostrophe + 1)];
    }) ?? [];

/** Evidence for the languages of Latin script. */
interface Evidence {
  /** Distinct function words. */
  readonly hits: number;
  /** The sum over all function words: 1 for a word of this language alone, 1/n for a word of n languages. */
  readonly score: number;
}

const none: Evidence = { hits: 0, score: 0 };

function evidenceOf(words: readonly string[]): [language: string, evidence: Evidence][] {
  const evidence = new Map<string, Evidence>();
  const seen = new Set<string>();
  for (const word of words) {
    const languages = languagesOfWord.get(word) ?? [];
    for (const language of languages) {
      const { hits, score } = evidence.get(language) ?? none;
      evidence.set(language, { hits: hits + (seen.has(word) ? 0 : 1), score: score + 1 / languages.length });
    }
    seen.add(word);
  }
  return [...evidence].sort(([, a], [, b]) => b.score - a.score);
}

/** Trigrams decide only about longer texts. */
const TRIGRAM_LETTERS = 60;

/** Returns whether the trigrams of a text fit a language best. */
function trigramsAgree(prose: string, letters: number, language: string): boolean {
  if (letters < TRIGRAM_LETTERS) return false;
  const [best] = francAll(prose, { minLength: TRIGRAM_LETTERS, only: Object.keys(trigramLanguages) });
  return best !== undefined && trigramLanguages[best[0]] === language;
}

/**
 * Detects the language of Latin script by function words. One language must have clearly more of them than any other;
 * in longer texts with few of them the trigrams must agree.
 */
function latinLanguage(prose: string, letters: number): string {
  const words = wordsOf(prose);
  const [[language, { hits, score }] = ['', none], [, second] = ['', none]] = evidenceOf(words);
  if (score < 1.5 * second.score) return UNKNOWN_LANGUAGE;
  // One word is enough for English, as a name or a foreign word seldom is one of these.
  const isEnough = score >= Math.max(1, 0.12 * words.length) && hits >= (language === 'English' ? 1 : 2);
  if (isEnough) return language;
  return score >= 0.75 && hits >= 2 && trigramsAgree(prose, letters, language) ? language : UNKNOWN_LANGUAGE;
}

/**
 * Detects the language of a text. Code and markup are set aside; the script decides first, then the words of Latin
 * script. Returns {@link UNKNOWN_LANGUAGE} for short and for doubtful texts.
 */
export function languageOf(text: string): string {
  const prose = proseOf(text);
  const letters = prose.match(/\p{L}/gu)?.length ?? 0;
  if (letters === 0) return UNKNOWN_LANGUAGE;
  for (const { language, pattern, share, count } of scripts) {
    const found = prose.match(pattern)?.length ?? 0;
    if (found >= count && found / letters > share) return language;
  }
  const latin = prose.match(/\p{Script=Latin}/gu)?.length ?? 0;
  return latin / letters > 0.5 ? latinLanguage(prose, letters) : UNKNOWN_LANGUAGE;
}

/** Returns the languages of the user's and the assistant's text if both are known and different; otherwise null. */
export function languageMismatch(
  conversation: Pick<Conversation, 'messages'>,
): readonly [asked: string, answered: string] | null {
  const [asked, answered] = [
    languageOf(textOfRole(conversation, 'user')),
    languageOf(textOfRole(conversation, 'assistant')),
  ];
  const isUnknown = asked === UNKNOWN_LANGUAGE || answered === UNKNOWN_LANGUAGE;
  return isUnknown || asked === answered ? null : [asked, answered];
}
