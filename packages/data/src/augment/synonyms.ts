import type { Random } from '@whetstone/core/random';
import { ENTITY_SLOT } from './entity-slots.js';
import { changeProse } from '../transforms/protected-text.js';

/** Words and what may stand in their place. Keys are in lower case. */
export type SynonymDictionary = ReadonlyMap<string, readonly string[]>;

export interface ReplaceOptions {
  /** The share of words with synonyms that are replaced. */
  readonly rate: number;
  /** Words that always stay: names, products. */
  readonly protect: ReadonlySet<string>;
}

const WORD_OR_SLOT = new RegExp(`${ENTITY_SLOT.source}|\\p{L}[\\p{L}\\p{M}'’-]*`, 'gu');
const ideograph = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;
const LONGEST_WORD = 6;

/** A replacement written like the word: with a capital where that had one. */
const likeWord = (word: string, replacement: string): string =>
  /^\p{Lu}/u.test(word) ? replacement.charAt(0).toUpperCase() + replacement.slice(1) : replacement;

function replaceWords(
  text: string,
  dictionary: SynonymDictionary,
  { rate, protect }: ReplaceOptions,
  random: Random,
): string {
  return text.replace(WORD_OR_SLOT, (word, offset: number) => {
    if (!/^\p{L}/u.test(word) || protect.has(word.toLowerCase()) || ideograph.test(word)) return word;
    // A capital within a sentence is a name's.
    if (/^\p{Lu}/u.test(word) && !/(?:^|[.!?]\s+|\n)$/.test(text.slice(Math.max(0, offset - 3), offset))) return word;
    const synonyms = dictionary.get(word.toLowerCase());
    if (synonyms === undefined || synonyms.length === 0 || random.uniform() >= rate) return word;
    return likeWord(word, synonyms[random.integer(synonyms.length)] ?? word);
  });
}

/** Chinese and Japanese have no spaces: the longest word of the dictionary at each place is taken. */
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

/** Puts synonyms in the place of some words. Code, web addresses, placeholders, names and protected words stay. */
export function replaceSynonyms(
  text: string,
  dictionary: SynonymDictionary,
  options: ReplaceOptions,
  random: Random,
): string {
  return changeProse(text, (prose) => {
    const words = replaceWords(prose, dictionary, options, random);
    if (!ideograph.test(words)) return words;
    // Between the slots: what stands in one is a name of something.
    return words
      .split(new RegExp(`(${ENTITY_SLOT.source})`, 'u'))
      .map((part, index) => (index % 2 === 1 ? part : replaceIdeographs(part, dictionary, options, random)))
      .join('');
  });
}
