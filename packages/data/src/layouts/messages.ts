import type { ColumnName } from '../choices.js';
import { keyOf, valueOf, type Layout } from './layout.js';
import { readMessages, readTools } from './message-list.js';

const messageLayout = (name: string, column: ColumnName): Layout => ({
  name,
  requires: [column],
  allows: ['tools'],
  read(record, options) {
    const messages = readMessages(valueOf(record, column, options), keyOf(column, options), options);
    const tools = readTools(valueOf(record, 'tools', options), keyOf('tools', options));
    return { form: 'chat', messages, ...(tools === undefined ? {} : { tools }) };
  },
});

/** `{"conversation": [{"role", "content"}, …], "tools"?}`: Whetstone's own. */
export const conversationLayout = messageLayout('conversation', 'conversation');

/** `{"messages": [{"role", "content", "tool_calls"?}, …], "tools"?}`: OpenAI's and TRL's. */
export const messagesLayout = messageLayout('messages', 'messages');
