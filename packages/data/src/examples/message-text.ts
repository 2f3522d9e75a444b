import type { Message } from '@whetstone/core/contract';

/** The text of a message: its content, or the text parts of it joined. */
export function textOf(message: Message): string {
  const { content } = message;
  if (content === null) return '';
  return typeof content === 'string' ? content : content.map((part) => part.text ?? '').join('');
}
