import type { Conversation, Message } from '@whetstone/core/contract';

function mapContent(content: Message['content'], change: (text: string) => string): Message['content'] {
  if (content === null) return null;
  if (typeof content === 'string') return change(content);
  return content.map((part) =>
    part.type === 'text' && part.text !== undefined ? { ...part, text: change(part.text) } : part,
  );
}

/**
 * Applies `change` to every text of a conversation, except for tool calls and tool definitions. Returns the same object
 * if no text changes.
 */
export function mapText(conversation: Conversation, change: (text: string, message: Message) => string): Conversation {
  let touched = false;
  const messages = conversation.messages.map((message) => {
    const content = mapContent(message.content, (text) => {
      const changed = change(text, message);
      if (changed !== text) touched = true;
      return changed;
    });
    return { ...message, content };
  });
  return touched ? { ...conversation, messages } : conversation;
}
