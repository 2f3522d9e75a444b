import type { Message } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import { languageOf, UNKNOWN_LANGUAGE } from '../report/language.js';
import { termsOf, unitsOf } from '../report/terms.js';

/** Consecutive messages, from a user's turn up to the next one. */
type Exchange = readonly Message[];

const lastAnswer = (exchange: Exchange): string =>
  textOf(exchange.findLast(({ role }) => role === 'assistant') ?? { role: 'assistant', content: '' });
const questionOf = (exchange: Exchange): string => textOf(exchange[0] ?? { role: 'user', content: '' });
const textOfExchange = (exchange: Exchange): string => exchange.map((message) => textOf(message)).join('\n');

/** Returns whether the answer ends in a question, so that the user's next turn is expected to answer it. */
export const asksBack = (exchange: Exchange): boolean =>
  /[?？؟][\s"'”’)）」』*_]*$/u.test(lastAnswer(exchange).slice(-20));

const wordSet = (words: string): ReadonlySet<string> => new Set(words.split(' '));
/** Words that begin an answer or a continuation. */
const continuations = wordSet(
  'and but so then or why really yes yeah yep no nope ok okay thanks thank sure right good great exactly maybe ' +
    'because also',
);
/** Words that stand for something that was said. */
const backReferences = wordSet(
  "it its it's this that that's these those they them their he him his she her one ones same too instead else " +
    'another again',
);
const chineseBackReferences =
  /^(?:为什么|为啥|好的|好吧|好|是的|是|不是|不|对|嗯|哦|谢谢|然后|那么|那|所以|但是|可是|还有|真的)|[它他她这那]|呢[？?。！\s]*$|还有|再来/u;

/** Returns whether a user's turn seems to need what was said before it. Recognizes English and Chinese. */
function refersBack(text: string): boolean {
  const words = unitsOf(text);
  if (continuations.has(words[0] ?? '') || words.some((word) => backReferences.has(word))) return true;
  if (/^(?:what|how) about\b/i.test(text.trim()) || chineseBackReferences.test(text.trim())) return true;
  // "Blue?" and "12345" complete something that was said.
  return words.length < 3 && /[?？\d]/.test(text);
}

/** Returns whether a text of unknown language is so short that this is no surprise. */
const isShort = (text: string): boolean => unitsOf(text).length < 6;

/** Returns the script of the first letter, for texts whose language is unknown. */
function scriptOf(text: string): string {
  const [letter = ''] = /\p{L}/u.exec(text) ?? [];
  if (/\p{Script=Latin}/u.test(letter)) return 'Latin';
  return /\p{Script=Han}/u.test(letter) ? 'Han' : 'other';
}

/**
 * Returns a name for the language of an exchange: its question and answer must agree. The language of short texts may
 * be unknown; they have the name of their script. Returns null for two languages and for longer texts of unknown
 * language.
 */
export function languageOfExchange(exchange: Exchange): string | null {
  const languages = new Set(exchange.map((message) => languageOf(textOf(message))));
  languages.delete(UNKNOWN_LANGUAGE);
  if (languages.size > 1) return null;
  const [language] = languages;
  if (language !== undefined) return language;
  const text = textOfExchange(exchange);
  const whole = languageOf(text);
  if (whole !== UNKNOWN_LANGUAGE) return whole;
  return isShort(text) ? `unknown, ${scriptOf(text)}` : null;
}

/** Returns whether all exchanges are of one language in which references to earlier turns can be recognized. */
function isReadable(exchanges: readonly Exchange[]): boolean {
  const languages = new Set(exchanges.flatMap((exchange) => exchange.map((message) => languageOf(textOf(message)))));
  languages.delete(UNKNOWN_LANGUAGE);
  const [language = UNKNOWN_LANGUAGE] = languages;
  return languages.size <= 1 && ['English', 'Chinese', UNKNOWN_LANGUAGE].includes(language);
}

/**
 * Returns whether a dialogue remains without exchange `index`: nobody answers a question that is removed, no question
 * loses its answer, and later turns of the user refer to nothing that is removed.
 */
export function canDrop(exchanges: readonly Exchange[], index: number): boolean {
  const [before, dropped, next] = [exchanges[index - 1], exchanges[index], exchanges[index + 1]];
  if (dropped === undefined || next === undefined || !isReadable(exchanges)) return false;
  if (asksBack(dropped) || (before !== undefined && asksBack(before)) || refersBack(questionOf(next))) return false;
  const known = new Set(exchanges.slice(0, index).flatMap((exchange) => termsOf(textOfExchange(exchange))));
  const removed = new Set(termsOf(textOfExchange(dropped)));
  const later = exchanges.slice(index + 1).flatMap((exchange) => termsOf(questionOf(exchange)));
  return later.every((term) => !removed.has(term) || known.has(term));
}

/** Returns whether the questions of exchange `index` and the next one could have been asked at once. */
export function canMerge(exchanges: readonly Exchange[], index: number): boolean {
  const [first, second] = [exchanges[index], exchanges[index + 1]];
  if (first === undefined || second === undefined || !isReadable(exchanges)) return false;
  return !asksBack(first) && !refersBack(questionOf(second));
}
