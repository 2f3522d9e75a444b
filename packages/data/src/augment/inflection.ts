import { irregularBases, irregularForms } from './irregular-verbs.js';

/** Parts of speech in the order of WordNet: adjectives have two kinds of entries there. */
export type PartOfSpeech = 'noun' | 'verb' | 'adjective' | 'adverb';

/** The inflection of a word; `base` for words that are not inflected. */
type Inflection = 'base' | 'plural' | 'third person' | 'past' | 'progressive';

/** What a word can be the inflection of. */
export interface Analysis {
  readonly lemma: string;
  readonly part: PartOfSpeech;
  readonly inflection: Inflection;
}

const VOWEL = /[aeiou]/;
/** A verb of one syllable that doubles its last consonant: `stop`, `stopped`. */
const DOUBLES = /^[^aeiou]*(?:qu)?[aeiou][bdgklmnprt]$/;
/** Verbs of more syllables that end in one vowel and one consonant: they double it or not, by their stress. */
const UNCERTAIN = /[aeiou][^aeiou]+[aeiou][bdglmnprt]$/;

/** Returns the bases of a word that ends in `ed` or `ing`. */
function withoutEnding(word: string, ending: string): readonly string[] {
  const stem = word.slice(0, -ending.length);
  if (!VOWEL.test(stem) && !stem.includes('y')) return [];
  const last = stem.at(-1) ?? '';
  const single = stem.at(-2) === last ? [stem.slice(0, -1)] : [];
  const y = ending === 'ed' && last === 'i' ? [`${stem.slice(0, -1)}y`] : [];
  return [stem, `${stem}e`, ...single, ...y];
}

/** Returns the bases of a word that ends in `s`. */
function withoutS(word: string): readonly string[] {
  if (word.endsWith('ies') && word.length > 4) return [`${word.slice(0, -3)}y`];
  if (/(?:s|x|z|ch|sh|o)es$/.test(word)) return [word.slice(0, -2), word.slice(0, -1)];
  return /(?:[^s]|[^su]s)s$/.test(word) && !word.endsWith('ss') ? [word.slice(0, -1)] : [];
}

/** Returns everything that a word can be the regular inflection of, and the word itself in all parts of speech. */
export function analysesOf(word: string): readonly Analysis[] {
  const parts: readonly PartOfSpeech[] = ['noun', 'verb', 'adjective', 'adverb'];
  const found: Analysis[] = parts.map((part) => ({ lemma: word, part, inflection: 'base' }));
  for (const lemma of withoutS(word)) {
    found.push({ lemma, part: 'noun', inflection: 'plural' });
    found.push({ lemma, part: 'verb', inflection: 'third person' });
  }
  for (const [ending, inflection] of [
    ['ed', 'past'],
    ['ing', 'progressive'],
  ] as const)
    if (word.endsWith(ending) && word.length > ending.length + 2)
      for (const lemma of withoutEnding(word, ending)) found.push({ lemma, part: 'verb', inflection });
  return found;
}

/** Returns a word and everything that it can be the regular inflection of. */
export const basesOf = (word: string): readonly string[] => [...new Set(analysesOf(word).map(({ lemma }) => lemma))];

/** Returns whether a word is the past or participle of an irregular verb, which the analysis does not know. */
export const isIrregular = (word: string): boolean => irregularForms.has(word);

const withS = (word: string): string => {
  if (/[^aeiou]y$/.test(word)) return `${word.slice(0, -1)}ies`;
  return /(?:s|x|z|ch|sh)$/.test(word) ? `${word}es` : `${word}s`;
};

function withEnding(word: string, ending: 'ed' | 'ing'): string | null {
  if (DOUBLES.test(word)) return `${word}${word.at(-1) ?? ''}${ending}`;
  if (UNCERTAIN.test(word)) return null;
  if (/[^aeiou]y$/.test(word) && ending === 'ed') return `${word.slice(0, -1)}ied`;
  if (word.endsWith('ie') && ending === 'ing') return `${word.slice(0, -2)}ying`;
  if (word.endsWith('e') && (ending === 'ed' || !/[eoy]e$/.test(word))) return `${word.slice(0, -1)}${ending}`;
  return `${word}${ending}`;
}

/** Returns an inflection of a word; null if it is irregular or its spelling is not certain. */
export function inflect(word: string, inflection: Inflection): string | null {
  switch (inflection) {
    case 'base':
      return word;
    case 'plural':
      // Words that end in f, o, man, us or is have several plurals, or irregular ones.
      return /(?:f|fe|o|man|us|is|foot|tooth|child|mouse|person)$/.test(word) ? null : withS(word);
    case 'third person':
      return /(?:o|^be|^have)$/.test(word) ? null : withS(word);
    case 'past':
      return irregularBases.has(word) ? null : withEnding(word, 'ed');
    case 'progressive':
      return withEnding(word, 'ing');
  }
}
