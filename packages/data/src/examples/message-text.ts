import type { Conversation, Message } from '@whetstone/core/contract';

/** Returns the text of a message: its content, or its text parts, joined. */
export function textOf(message: Message): string {
  const { content } = message;
  if (content === null) return '';
  return typeof content === 'string' ? content : content.map((part) => part.text ?? '').join('');
}

/** Returns the texts of all messages of a role, one per line. */
export const textOfRole = ({ messages }: Pick<Conversation, 'messages'>, wanted: string): string =>
  messages
    .filter(({ role }) => role === wanted)
    .map((message) => textOf(message))
    .join('\n');
