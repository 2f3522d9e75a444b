import { resolve } from 'node:path';
import type { Message } from '@whetstone/core/contract';
import { readTextIfPresent, writeText } from '@whetstone/core/files';
import { counted } from '@whetstone/core/util';

/** A conversation with its system message. */
export interface Conversation {
  readonly system: string | null;
  /** The messages of the user and the assistant, in turns. */
  readonly turns: readonly Message[];
}

export const newConversation = (system: string | null): Conversation => ({ system, turns: [] });

/** Returns all messages of a conversation, as the chat template takes them. */
export const messagesOf = ({ system, turns }: Conversation): Message[] => [
  ...(system === null ? [] : [{ role: 'system' as const, content: system }]),
  ...turns,
];

/** Returns the conversation up to its last user message, without the reply; null if there is no such message. */
export function beforeReply({ system, turns }: Conversation): Conversation | null {
  const last = turns.findLastIndex(({ role }) => role === 'user');
  return last < 0 ? null : { system, turns: turns.slice(0, last + 1) };
}

/**
 * Appends a conversation to a JSON Lines file, in the layout `messages`, which `train` reads. Returns what was done.
 *
 * @throws `FILE_UNWRITABLE` and other file errors
 */
export async function saveConversation(conversation: Conversation, path: string): Promise<string> {
  const file = resolve(path);
  const before = (await readTextIfPresent(file)) ?? '';
  const separator = before === '' || before.endsWith('\n') ? '' : '\n';
  const messages = messagesOf(conversation);
  await writeText(file, `${before}${separator}${JSON.stringify({ messages })}\n`);
  return `${counted(messages.length, 'message')} ${before === '' ? 'saved in' : 'appended to'} ${file}`;
}
