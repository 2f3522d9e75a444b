import type { Conversation, DataSource, Message } from '@whetstone/core/contract';

/** Creates a source of given conversations, for tests. */
export function sourceOf(conversations: readonly Omit<Conversation, 'origin'>[]): DataSource {
  return {
    conversations: () =>
      conversations.map((conversation, index) => ({
        ...conversation,
        origin: { file: 'memory.jsonl', line: index + 1, index },
      })),
    unreadable: [],
    files: ['memory.jsonl'],
  };
}

/** Creates a chat whose turns alternate between user and assistant. */
export function chat(...contents: readonly string[]): Omit<Conversation, 'origin'> {
  return {
    form: 'chat',
    messages: contents.map((content, index): Message => ({ role: index % 2 === 0 ? 'user' : 'assistant', content })),
  };
}
