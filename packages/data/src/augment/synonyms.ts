import type { Random } from '@whetstone/core/random';
import { changeProse } from '../transforms/protected-text.js';
import { ENTITY_SLOT } from './entity-slots.js';
import { isFunctionWord, type Lexicon } from './lexicon.js';

interface ReplaceOptions {
  /** The share of words with synonyms that are replaced. */
  readonly rate: number;
  /** Words that are never replaced, in lower case: names, products, terms of the topic. */
  readonly protect: ReadonlySet<string>;
}

/** Replaces some words of a text. A word that occurs again gets the same replacement. */
interface Replacer {
  replace(text: string): string;
  /** Takes one more of the words that can be replaced. Returns false if all are taken. */
  takeAnother(): boolean;
}

const ideograph = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;
const LONGEST_WORD = 6;
/** The characters beside a word that are looked at. */
const NEARBY = 8;

/** Text that is quoted: in quotation marks of any kind, and lines that quote a message. */
const QUOTED: readonly RegExp[] = [
  /"[^"\n]{1,500}"|“[^”]{1,500}”|„[^“”]{1,500}[“”]|«[^»]{1,500}»/g,
  /「[^」]{1,500}」|『[^』]{1,500}』|《[^》]{1,200}》/g,
  /(?<![\p{L}\p{N}])['‘][^'’\n]{2,200}['’](?![\p{L}\p{N}])/gu,
  /^[ \t]{0,8}>.*$/gm,
];

/** What running text does not have: comparisons, arrows, calls, statements, commands. */
const CODE: readonly RegExp[] = [
  /[=!<>]=|=>|->|::|&&|\|\|/,
  /\w\([^\s()]{0,80}\)/,
  /\b(?:def|import|return|const|let|var|function|class|SELECT|FROM) {1,4}[\w.*]{1,60} {0,4}[(=;{*]/,
  /^ {0,8}(?:\$|>>>|#!|\/\/|npm|git|sudo|pip) /,
  /^(?: {4}|\t)/,
];

/** Returns whether a line looks like code. */
const isCode = (line: string): boolean =>
  /[;{}]$/.test(line.trimEnd()) || CODE.some((pattern) => pattern.test(line.slice(0, 1000)));

/** What stands beside a word in running text: otherwise it is part of an identifier, path or number. */
const BEFORE = /(?:^|[\s(（[“"‘'「『，。！？、；：—–])$/u;
const AFTER = /^(?:$|[\s)）\].,;:!?，。！？、；：…”"’'」』—–-])/u;
const JOINED_AFTER = /^[-.'’]\p{L}|^[._/\\:@=]\S/u;

const WORD_OR_SLOT = new RegExp(`${ENTITY_SLOT.source}|\\p{L}[\\p{L}\\p{M}'’]*`, 'gu');
/** A question for the meaning of a word: "What is a robot?", "Define irony", "What does AI mean?". */
const DEFINITION: readonly RegExp[] = [
  /^ *(?:what|who)(?:['’]s| is| are| was| were) (?:(?:an?|the) )?(?:[^\s?.!]{1,40} ){0,2}[^\s?.!]{1,40}[?.! ]{0,4}$/i,
  /\bdefin(?:e|ition)\b|\bmean(?:s|ing)?\b|\bstands? for\b|\bsynonym|\bword\b|\bdifference between\b/i,
];

/** Applies `change` to the parts of a text that no pattern matches. */
function outside(text: string, patterns: readonly RegExp[], change: (text: string) => string): string {
  const [pattern, ...others] = patterns;
  if (pattern === undefined) return change(text);
  let result = '';
  let position = 0;
  for (const match of text.matchAll(pattern)) {
    result += outside(text.slice(position, match.index), others, change) + match[0];
    position = match.index + match[0].length;
  }
  return result + outside(text.slice(position), others, change);
}

/** Applies `change` to the lines of a text that are not code. */
const outsideCode = (text: string, change: (text: string) => string): string =>
  text
    .split('\n')
    .map((line) => (isCode(line) ? line : change(line)))
    .join('\n');

/** Capitalizes the replacement if the word is capitalized. */
const matchCase = (word: string, replacement: string): string =>
  /^\p{Lu}/u.test(word) ? replacement.charAt(0).toUpperCase() + replacement.slice(1) : replacement;

/** Returns whether a sentence or line begins after `before`. */
function startsSentence(before: string): boolean {
  const end = before.trimEnd();
  const space = before.slice(end.length);
  return before === '' || space.includes('\n') || (space !== '' && /[.!?。！？]["”’)]?$/u.test(end));
}

/** The beginning of a comparison, which words of one syllable make with an ending: "more difficult", but "harder". */
const COMPARED = /\b(?:more|most|less|least) $/i;
/** Returns whether a word has one syllable. */
const isShort = (word: string): boolean => (word.match(/[aeiouy]+/gi)?.length ?? 0) < 2;

const startsWithVowel = (word: string): boolean => /^[aeiou]/i.test(word);

class WordReplacer implements Replacer {
  private readonly chosen = new Map<string, string | null>();
  /** The words that could be replaced and are not, with their synonyms. */
  private readonly left = new Map<string, readonly string[]>();

  constructor(
    private readonly lexicon: Lexicon,
    private readonly options: ReplaceOptions,
    private readonly random: Random,
  ) {}

  replace(text: string): string {
    // What is defined is the topic of a question.
    const asked = this.lexicon.language === 'English' && DEFINITION.some((pattern) => pattern.test(text));
    return changeProse(text, (prose) =>
      outside(prose, QUOTED, (unquoted) =>
        outsideCode(unquoted, (running) => {
          const changed = asked ? running : this.replaceWords(running);
          return ideograph.test(changed) ? outside(changed, [slots], (part) => this.replaceIdeographs(part)) : changed;
        }),
      ),
    );
  }

  private replaceWords(text: string): string {
    const words = [...text.matchAll(WORD_OR_SLOT)].map(([word]) => word.toLowerCase());
    let at = -1;
    return text.replace(WORD_OR_SLOT, (word, offset: number) => {
      at++;
      if (!/^\p{L}/u.test(word) || ideograph.test(word)) return word;
      const start = Math.max(0, offset - NEARBY);
      const before = (start === 0 ? '' : 'x') + text.slice(start, offset);
      const end = offset + word.length;
      if (!this.mayReplace(word, before, text.slice(end, end + NEARBY)) || this.isInExpression(words, at)) return word;
      return this.choose(word, /\b(an?) $/i.exec(before)?.[1] ?? null, COMPARED.test(before));
    });
  }

  private mayReplace(word: string, before: string, after: string): boolean {
    const lower = word.toLowerCase();
    if (this.isProtected(lower) || !BEFORE.test(before) || !AFTER.test(after) || JOINED_AFTER.test(after)) return false;
    if (!/\p{Lu}/u.test(word)) return true;
    // A capitalized word within a sentence, or that may be a name at its start.
    if (/\p{Lu}/u.test(word.slice(1)) || this.lexicon.isName(lower)) return false;
    return startsSentence(before);
  }

  private isProtected(lower: string): boolean {
    const { protect } = this.options;
    return isFunctionWord(lower) || protect.has(lower) || this.lexicon.formsOf(lower).some((form) => protect.has(form));
  }

  /** Returns whether a word belongs to an expression with the words beside it: `real estate`, `give up`. */
  private isInExpression(words: readonly string[], at: number): boolean {
    const forms = (word: string | undefined): readonly string[] =>
      word === undefined ? [] : [...new Set([word, ...this.lexicon.formsOf(word)])];
    const own = forms(words[at]);
    return (
      own.some((form) => forms(words[at + 1]).some((next) => this.lexicon.isExpression([form, next]))) ||
      own.some((form) => forms(words[at - 1]).some((previous) => this.lexicon.isExpression([previous, form])))
    );
  }

  takeAnother(): boolean {
    const entries = [...this.left];
    const [word, synonyms] = entries[entries.length === 0 ? 0 : this.random.integer(entries.length)] ?? [];
    if (word === undefined || synonyms === undefined) return false;
    this.left.delete(word);
    this.chosen.set(word, this.oneOf(synonyms));
    return true;
  }

  private oneOf(synonyms: readonly string[]): string | null {
    return synonyms[this.random.integer(synonyms.length)] ?? null;
  }

  private choose(word: string, article: string | null, compared = false): string {
    const lower = word.toLowerCase();
    let replacement = this.chosen.get(lower);
    if (replacement === undefined) {
      const synonyms = this.lexicon.synonymsOf(lower).filter((synonym) => !this.options.protect.has(synonym));
      const taken = synonyms.length > 0 && this.random.uniform() < this.options.rate;
      replacement = taken ? this.oneOf(synonyms) : null;
      this.chosen.set(lower, replacement);
      if (!taken && synonyms.length > 0) this.left.set(lower, synonyms);
    }
    if (replacement === null) return word;
    if (compared && isShort(replacement)) return word;
    if (article !== null && startsWithVowel(replacement) !== startsWithVowel(word)) return word;
    return matchCase(word, replacement);
  }

  /** Replaces words in Chinese and Japanese text, which has no spaces: the longest word at each word boundary. */
  private replaceIdeographs(text: string): string {
    const boundaries = new Set<number>([text.length]);
    for (const { index } of segmenter.segment(text)) boundaries.add(index);
    let result = '';
    let index = 0;
    while (index < text.length) {
      const word = boundaries.has(index) ? this.longestWord(text, index, boundaries) : null;
      const written = word ?? String.fromCodePoint(text.codePointAt(index) ?? 0);
      result += word === null ? written : this.choose(word, null);
      index += written.length;
    }
    return result;
  }

  /** Returns the longest word of the dictionary that begins here and ends at a word boundary. */
  private longestWord(text: string, start: number, boundaries: ReadonlySet<number>): string | null {
    if (!ideograph.test(text.slice(start, start + 2))) return null;
    for (let end = Math.min(text.length, start + LONGEST_WORD); end - start >= 2; end--) {
      if (!boundaries.has(end)) continue;
      const word = text.slice(start, end);
      if (this.lexicon.synonymsOf(word).length > 0) return this.isProtected(word) ? null : word;
    }
    return null;
  }
}

const slots = new RegExp(ENTITY_SLOT, 'gu');
const segmenter = new Intl.Segmenter('zh', { granularity: 'word' });

/**
 * Creates a replacer of words by synonyms. Function words, negations, numbers, names, code, web addresses, quoted text,
 * placeholders, expressions of several words and protected words are not changed.
 */
export const createReplacer = (lexicon: Lexicon, options: ReplaceOptions, random: Random): Replacer =>
  new WordReplacer(lexicon, options, random);
