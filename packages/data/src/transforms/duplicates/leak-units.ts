import { ideographsIn, type ComparableMessage } from './fingerprint.js';

/** A part of a conversation that is compared with evaluation data, besides the whole. */
export type LeakUnit = 'exchange' | 'reply';

/**
 * The least words of an exchange, question and answer together. Shorter ones ("Thanks!" – "You are welcome.") are
 * common and say nothing about a leak. Two Chinese or Japanese characters or Korean syllables count as a word.
 */
const EXCHANGE_WORDS = 8;
/** The least words of a reply that is compared without its question. Shorter ones are often phrases of politeness. */
const REPLY_WORDS = 25;

/** Returns the number of words of a normalized text. */
function wordsIn(text: string): number {
  if (text === '') return 0;
  const characters = ideographsIn(text);
  if (characters > 0) return wordsAround(text) + characters / 2;
  // Words of a normalized text are separated by one space or line break.
  let words = 1;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit === SPACE || unit === LINE_BREAK) words++;
  }
  return words;
}

const SPACE = 0x20;
const LINE_BREAK = 0x0a;
const ideographs = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/gu;

/** Returns the number of words between ideographs. */
const wordsAround = (text: string): number =>
  text
    .replace(ideographs, ' ')
    .split(/\s+/)
    .filter((word) => word !== '').length;

/** A unit with its comparable text: one line per message. */
export interface ComparableUnit {
  readonly kind: LeakUnit;
  readonly text: string;
}

/**
 * Returns the exchanges of a conversation (the user's messages and the answers to them, without system messages and
 * results of tools) and its long replies, without those that are too short and those that equal the whole text.
 */
export function comparableUnits(messages: readonly ComparableMessage[], whole: string): ComparableUnit[] {
  const units = new Map<string, LeakUnit>();
  const replies: string[] = [];
  let lines: string[] = [];
  let isAnswered = false;
  const finish = (): void => {
    const text = lines.join('\n');
    if (isAnswered && wordsIn(text) >= EXCHANGE_WORDS) units.set(text, 'exchange');
    lines = [];
    isAnswered = false;
  };
  for (const { role, text } of messages) {
    if (role === 'assistant') {
      if (wordsIn(text) >= REPLY_WORDS) replies.push(text);
      // An answer without a question is no exchange.
      if (lines.length === 0 || text === '') continue;
      isAnswered = true;
    } else if (isAnswered) finish();
    if (text !== '') lines.push(text);
  }
  finish();
  for (const reply of replies) if (!units.has(reply)) units.set(reply, 'reply');
  units.delete(whole);
  return [...units].map(([text, kind]) => ({ kind, text }));
}
