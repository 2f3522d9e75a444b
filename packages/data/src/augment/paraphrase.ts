import { languageOf, UNKNOWN_LANGUAGE } from '../report/language.js';
import { termsOf, unitsOf } from '../report/terms.js';
import { slotsOf } from './entity-slots.js';
import type { Ask } from './answer-cache.js';
import type { ParaphraseOptions } from './options.js';
import { unwrapReply, type Unwrapped } from './unwrap-reply.js';

/** Why a paraphrase is rejected; null if it is accepted. */
export type Rejection = 'unchanged' | 'length' | 'language' | 'lost-entity' | 'meaning' | null;

/** Returns the texts that must not change: numbers, placeholders, protected words. */
function entitiesOf(text: string, protect: readonly string[]): string[] {
  return [
    ...slotsOf(text),
    ...(text.match(/\d+(?:[.,:]\d+)*/g) ?? []),
    ...protect.filter((word) => text.includes(word)),
  ];
}

/**
 * Returns the share of content words of the shorter text that are also in the other text. Chinese is compared by single
 * characters, as paraphrases change their order.
 */
function wordOverlap(a: string, b: string): number {
  const words = (text: string): Set<string> => new Set(/\p{Script=Han}/u.test(text) ? unitsOf(text) : termsOf(text));
  const [one, two] = [words(a), words(b)];
  const common = [...one].filter((word) => two.has(word)).length;
  return one.size === 0 || two.size === 0 ? 0 : common / Math.min(one.size, two.size);
}

const negations = /\b(?:not|never|no|none|nobody|nothing|nowhere|neither|cannot|without)\b|n['’]t\b|[不没無无未别勿]/iu;
/** Expressions that contain a negation but do not negate, for example questions like 是不是. */
const noNegations =
  /(\p{Script=Han})不\1|有没有|不过|不仅|不但|不同|不断|不久|不错|差不多|对不起|没关系|特别|分别|区别|别人|\bno problem\b/giu;
const denies = (text: string): boolean => negations.test(text.replace(noNegations, ''));

/**
 * Checks whether a paraphrase keeps the meaning. It must differ from the original, have a similar length, the same
 * language, all entities and enough words in common, and be negated if the original is. The check compares words: it
 * does not detect antonyms ("open" changed to "closed").
 */
export function rejectParaphrase(
  original: string,
  paraphrase: string,
  { minSimilarity, protect }: Pick<ParaphraseOptions, 'minSimilarity' | 'protect'>,
): Rejection {
  const same = (text: string): string => unitsOf(text).join(' ');
  if (same(original) === same(paraphrase)) return 'unchanged';
  const ratio = paraphrase.length / Math.max(1, original.length);
  if (ratio < 0.4 || ratio > 2.5) return 'length';
  const [before, after] = [languageOf(original), languageOf(paraphrase)];
  if (before !== after && before !== UNKNOWN_LANGUAGE && after !== UNKNOWN_LANGUAGE) return 'language';
  if (entitiesOf(original, protect).some((entity) => !paraphrase.includes(entity))) return 'lost-entity';
  if (denies(original) !== denies(paraphrase)) return 'meaning';
  return wordOverlap(original, paraphrase) < minSimilarity ? 'meaning' : null;
}

const keep = 'Keep every number, every name and all text in brackets exactly. Answer with the text alone.';

/**
 * Asks a model for a paraphrase or a back-translation, and removes the words around it. The result is not checked: see
 * {@link rejectParaphrase}.
 */
export async function paraphrase(
  text: string,
  ask: Ask,
  { method, pivot }: Pick<ParaphraseOptions, 'method' | 'pivot'>,
): Promise<Unwrapped> {
  const unwrapped = async (prompt: string): Promise<Unwrapped> => unwrapReply(await ask(prompt), text);
  if (method === 'paraphrase')
    return unwrapped(`Say the following in other words, in the same language and tone. ${keep}\n\n${text}`);
  const translated = await unwrapped(`Translate the following into ${pivot}. ${keep}\n\n${text}`);
  if ('refusal' in translated) return translated;
  const language = languageOf(text);
  const back = language === UNKNOWN_LANGUAGE ? 'the language of the first text' : language;
  return unwrapped(`Translate the following into ${back}. ${keep}\n\n${translated.text}`);
}
