import type { Conversation } from '@whetstone/core/contract';
import { reasoningBesideText } from '@whetstone/core/util';
import { textOf } from '../../examples/message-text.js';
import type { DuplicatePart } from '../../choices.js';

const plainText = /^[\t-\r -~]*$/;
const ideographs = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/gu;

/** Returns the number of Chinese and Japanese characters and Korean syllables of a text. */
export const ideographsIn = (text: string): number =>
  // A search with classes of Unicode takes longer than everything else that is done with a short text.
  plainText.test(text) ? 0 : (text.match(ideographs)?.length ?? 0);

/** Normalizes a text for comparison: case, width, spaces and punctuation are ignored. */
export function comparableText(text: string): string {
  // For ASCII the result is the same, in a third of the time.
  if (plainText.test(text))
    return text
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, ' ')
      .trim();
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\p{P}\p{S}\s]+/gu, ' ')
    .trim();
}

/** A message as it is compared. */
export interface ComparableMessage {
  readonly role: string;
  /** The normalized text. */
  readonly text: string;
  /** The normalized text, after the reasoning. */
  readonly withReasoning: string;
}

/** Returns the messages that are compared: all except for system messages and tool results. */
export function comparableMessages({ messages }: Pick<Conversation, 'messages'>): ComparableMessage[] {
  return messages
    .filter(({ role }) => role !== 'system' && role !== 'tool')
    .map((message) => {
      const [plain, reasoning] = [textOf(message), reasoningBesideText(message)];
      const text = comparableText(plain);
      const withReasoning = reasoning.length === 0 ? text : comparableText([...reasoning, plain].join(' '));
      return { role: message.role, text, withReasoning };
    });
}

/** Returns the text of the compared part of a conversation, with one line per turn. Reasoning is compared, too. */
export function textOfPart(turns: readonly ComparableMessage[], part: DuplicatePart): string {
  const lastReply = turns.findLastIndex(({ role }) => role === 'assistant');
  const compared =
    part === 'conversation'
      ? turns
      : part === 'prompt'
        ? turns.slice(0, lastReply === -1 ? turns.length : lastReply)
        : turns.slice(lastReply, lastReply + 1);
  return compared.map(({ withReasoning }) => withReasoning).join('\n');
}

/** Returns the normalized text of the compared part of a conversation: see {@link textOfPart}. */
export const comparablePart = (conversation: Conversation, part: DuplicatePart): string =>
  textOfPart(comparableMessages(conversation), part);

/** Returns a 53-bit hash of a text. Source: the cyrb53 construction, two cross-mixed multiplicative 32-bit hashes. */
export function hashText(text: string, seed = 0): number {
  let high = 0xdeadbeef ^ seed;
  let low = 0x41c6ce57 ^ seed;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    high = Math.imul(high ^ unit, 2654435761);
    low = Math.imul(low ^ unit, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return 4294967296 * (2097151 & low) + (high >>> 0);
}
