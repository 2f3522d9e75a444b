import type { Random } from '@whetstone/core/random';
import { ENTITY_SLOT } from './entity-slots.js';
import { changeProse } from '../transforms/protected-text.js';

/** Words and their synonyms. Keys are in lower case. */
export type SynonymDictionary = ReadonlyMap<string, readonly string[]>;

export interface ReplaceOptions {
  /** The share of words with synonyms that are replaced. */
  readonly rate: number;
  /** Words that are never replaced: names, products. */
  readonly protect: ReadonlySet<string>;
}

const WORD_OR_SLOT = new RegExp(`${ENTITY_SLOT.source}|\\p{L}[\\p{L}\\p{M}'’-]*`, 'gu');
const ideograph = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;
const LONGEST_WORD = 6;

/** Capitalizes the replacement if the word is capitalized. */
const matchCase = (word: string, replacement: string): string =>
  /^\p{Lu}/u.test(word) ? replacement.charAt(0).toUpperCase() + replacement.slice(1) : replacement;

function replaceWords(
  text: string,
  dictionary: SynonymDictionary,
  { rate, protect }: ReplaceOptions,
  random: Random,
): string {
  return text.replace(WORD_OR_SLOT, (word, offset: number) => {
    if (!/^\p{L}/u.test(word) || protect.has(word.toLowerCase()) || ideograph.test(word)) return word;
    // A capitalized word within a sentence is a name.
    if (/^\p{Lu}/u.test(word) && !/(?:^|[.!?]\s+|\n)$/.test(text.slice(Math.max(0, offset - 3), offset))) return word;
    const synonyms = dictionary.get(word.toLowerCase());
    if (synonyms === undefined || synonyms.length === 0 || random.uniform() >= rate) return word;
    return matchCase(word, synonyms[random.integer(synonyms.length)] ?? word);
  });
}

/** Replaces words in Chinese and Japanese text, which has no spaces: at each position, the longest known word. */
function replaceIdeographs(
  text: string,
  dictionary: SynonymDictionary,
  { rate, protect }: ReplaceOptions,
  random: Random,
): string {
  const characters = [...text];
  let result = '';
  for (let index = 0; index < characters.length;) {
    let taken = 1;
    let written = characters[index] ?? '';
    if (ideograph.test(written)) {
      for (let length = Math.min(LONGEST_WORD, characters.length - index); length >= 2; length--) {
        const word = characters.slice(index, index + length).join('');
        const synonyms = protect.has(word) ? [] : dictionary.get(word);
        if (synonyms === undefined) continue;
        taken = length;
        written =
          synonyms.length > 0 && random.uniform() < rate ? (synonyms[random.integer(synonyms.length)] ?? word) : word;
        break;
      }
    }
    result += written;
    index += taken;
  }
  return result;
}

/** Replaces some words by synonyms. Code, web addresses, placeholders, names and protected words are not changed. */
export function replaceSynonyms(
  text: string,
  dictionary: SynonymDictionary,
  options: ReplaceOptions,
  random: Random,
): string {
  return changeProse(text, (prose) => {
    const words = replaceWords(prose, dictionary, options, random);
    if (!ideograph.test(words)) return words;
    // Odd elements are placeholders.
    return words
      .split(new RegExp(`(${ENTITY_SLOT.source})`, 'u'))
      .map((text, index) => (index % 2 === 1 ? text : replaceIdeographs(text, dictionary, options, random)))
      .join('');
  });
}
