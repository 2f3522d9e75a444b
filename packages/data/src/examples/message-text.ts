import type { Message } from '@whetstone/core/contract';

/** Returns the text of a message: its content, or its text parts, joined. */
export function textOf(message: Message): string {
  const { content } = message;
  if (content === null) return '';
  return typeof content === 'string' ? content : content.map((part) => part.text ?? '').join('');
}
