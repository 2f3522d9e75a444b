import type { Conversation } from '@whetstone/core/contract';
import { textOf } from '../../examples/message-text.js';
import { comparableText } from './fingerprint.js';

/** A part of a conversation that is compared with evaluation data, besides the whole. */
export type LeakUnit = 'exchange' | 'reply';

/**
 * The least words of an exchange, question and answer together. Shorter ones ("Thanks!" – "You are welcome.") are
 * common and say nothing about a leak. Two Chinese or Japanese characters or Korean syllables count as a word.
 */
const EXCHANGE_WORDS = 8;
/** The least words of a reply that is compared without its question. Shorter ones are often phrases of politeness. */
const REPLY_WORDS = 25;

const ideographs = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/gu;

/** Returns the number of words of a comparable text. */
function wordsIn(text: string): number {
  const characters = text.match(ideographs)?.length ?? 0;
  const words = (characters === 0 ? text : text.replace(ideographs, ' ')).split(/\s+/).filter((word) => word !== '');
  return words.length + characters / 2;
}

/** A unit with its comparable text: one line per message. */
export interface ComparableUnit {
  readonly kind: LeakUnit;
  readonly text: string;
}

/**
 * Returns the exchanges of a conversation (the user's messages and the answers to them, without system messages and
 * results of tools) and its long replies, without those that are too short and those that equal the whole text.
 */
export function comparableUnits({ messages }: Pick<Conversation, 'messages'>, whole: string): ComparableUnit[] {
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
  for (const message of messages) {
    if (message.role === 'system' || message.role === 'tool') continue;
    const text = comparableText(textOf(message));
    if (message.role === 'assistant') {
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
