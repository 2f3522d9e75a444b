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
  return [...slotsOf(text), ...(text.match(/\d+(?:[.,:]\d+)*/g) ?? []), ...protect.filter((word) => text.includes(word))];
}

/** The share of telling words of the shorter text that the other holds, too. Chinese is compared by characters, whose order paraphrases change. */
export function wordOverlap(a: string, b: string): number {
  const words = (text: string): Set<string> => new Set(/\p{Script=Han}/u.test(text) ? unitsOf(text) : termsOf(text));
  const [one, two] = [words(a), words(b)];
  const common = [...one].filter((word) => two.has(word)).length;
  return one.size === 0 || two.size === 0 ? 0 : common / Math.min(one.size, two.size);
}

/** Looks whether a paraphrase says the same: another text, of like length, in the same language, with every number and name, and enough words in common. */
export function rejectParaphrase(original: string, paraphrase: string, { minSimilarity, protect }: ParaphraseOptions): Rejection {
  const same = (text: string): string => unitsOf(text).join(' ');
  if (same(original) === same(paraphrase)) return 'unchanged';
  const ratio = paraphrase.length / Math.max(1, original.length);
  if (ratio < 0.4 || ratio > 2.5) return 'length';
  const [before, after] = [languageOf(original), languageOf(paraphrase)];
  if (before !== after && !before.startsWith('other') && !after.startsWith('other')) return 'language';
  if (entitiesOf(original, protect).some((entity) => !paraphrase.includes(entity))) return 'lost-entity';
  return wordOverlap(original, paraphrase) < minSimilarity ? 'meaning' : null;
}

const keep = 'Keep every number, every name and all text in brackets exactly. Answer with the text alone.';

/** A text said otherwise by a model, directly or by way of another language. Not yet looked at: see {@link rejectParaphrase}. */
export async function paraphrase(text: string, ask: Ask, { method, pivot }: ParaphraseOptions): Promise<string> {
  if (method === 'paraphrase') return ask(`Say the following in other words, in the same language and tone. ${keep}\n\n${text}`);
  const there = await ask(`Translate the following into ${pivot}. ${keep}\n\n${text}`);
  const language = languageOf(text);
  const back = language.startsWith('other') || language === 'no letters' ? 'the language of the first text' : language;
  return ask(`Translate the following into ${back}. ${keep}\n\n${there}`);
}
