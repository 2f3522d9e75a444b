import { languageOf } from '../report/language.js';
import { termsOf, unitsOf } from '../report/terms.js';
import { slotsOf } from './entity-slots.js';
import type { Ask } from './answer-cache.js';

export interface ParaphraseOptions {
  readonly method: 'paraphrase' | 'back-translation';
  /** The language that a back-translation goes through. */
  readonly pivot: string;
  /** The least share of words that say something which original and paraphrase have in common. */
  readonly minSimilarity: number;
  readonly protect: readonly string[];
}

/** Why a paraphrase is not taken; null where it is. */
export type Rejection = 'unchanged' | 'length' | 'language' | 'lost-entity' | 'meaning' | null;

/** What must not change: numbers, placeholders, protected words. */
function entitiesOf(text: string, protect: readonly string[]): string[] {
  return [
    ...slotsOf(text),
    ...(text.match(/\d+(?:[.,:]\d+)*/g) ?? []),
    ...protect.filter((word) => text.includes(word)),
  ];
}

/**
 * The share of telling words of the shorter text that the other holds, too. Chinese is compared by characters, whose
 * order paraphrases change.
 */
function wordOverlap(a: string, b: string): number {
  const words = (text: string): Set<string> => new Set(/\p{Script=Han}/u.test(text) ? unitsOf(text) : termsOf(text));
  const [one, two] = [words(a), words(b)];
  const common = [...one].filter((word) => two.has(word)).length;
  return one.size === 0 || two.size === 0 ? 0 : common / Math.min(one.size, two.size);
}

const negations = /\b(?:not|never|no|none|nobody|nothing|nowhere|neither|cannot|without)\b|n['’]t\b|[不没無无未别勿]/iu;
/** What holds a sign for "not" and denies nothing; questions such as 是不是 among it. */
const noNegations =
  /(\p{Script=Han})不\1|有没有|不过|不仅|不但|不同|不断|不久|不错|差不多|对不起|没关系|特别|分别|区别|别人|\bno problem\b/giu;
const denies = (text: string): boolean => negations.test(text.replace(noNegations, ''));

/**
 * Looks whether a paraphrase says the same: another text, of like length, in the same language, with every number and
 * name, enough words in common, and a denial where the other has one. It compares words: what turns a meaning round in
 * words of its own ("open" to "closed") is not seen.
 */
export function rejectParaphrase(
  original: string,
  paraphrase: string,
  { minSimilarity, protect }: ParaphraseOptions,
): Rejection {
  const same = (text: string): string => unitsOf(text).join(' ');
  if (same(original) === same(paraphrase)) return 'unchanged';
  const ratio = paraphrase.length / Math.max(1, original.length);
  if (ratio < 0.4 || ratio > 2.5) return 'length';
  const [before, after] = [languageOf(original), languageOf(paraphrase)];
  if (before !== after && !before.startsWith('other') && !after.startsWith('other')) return 'language';
  if (entitiesOf(original, protect).some((entity) => !paraphrase.includes(entity))) return 'lost-entity';
  if (denies(original) !== denies(paraphrase)) return 'meaning';
  return wordOverlap(original, paraphrase) < minSimilarity ? 'meaning' : null;
}

const keep = 'Keep every number, every name and all text in brackets exactly. Answer with the text alone.';

/**
 * A text said otherwise by a model, directly or by way of another language. Not yet looked at: see
 * {@link rejectParaphrase}.
 */
export async function paraphrase(text: string, ask: Ask, { method, pivot }: ParaphraseOptions): Promise<string> {
  if (method === 'paraphrase')
    return ask(`Say the following in other words, in the same language and tone. ${keep}\n\n${text}`);
  const there = await ask(`Translate the following into ${pivot}. ${keep}\n\n${text}`);
  const language = languageOf(text);
  const back = language.startsWith('other') || language === 'no letters' ? 'the language of the first text' : language;
  return ask(`Translate the following into ${back}. ${keep}\n\n${there}`);
}
