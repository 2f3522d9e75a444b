import type { Conversation } from '@whetstone/core/contract';
import { reasoningBesideText } from '@whetstone/core/util';
import { textOf } from '../../examples/message-text.js';
import type { DuplicatePart } from '../../choices.js';

const plainText = /^[\t-\r -~]*$/;

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

/**
 * Returns the normalized text of the compared part of a conversation, with one line per turn. Reasoning is compared,
 * too; system messages and tool results are ignored.
 */
export function comparablePart({ messages }: Conversation, part: DuplicatePart): string {
  const turns = messages.filter(({ role }) => role !== 'system' && role !== 'tool');
  const lastReply = turns.findLastIndex(({ role }) => role === 'assistant');
  const compared =
    part === 'conversation'
      ? turns
      : part === 'prompt'
        ? turns.slice(0, lastReply === -1 ? turns.length : lastReply)
        : turns.slice(lastReply, lastReply + 1);
  return compared
    .map((message) => comparableText([...reasoningBesideText(message), textOf(message)].join(' ')))
    .join('\n');
}

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
