import type { ColumnName } from '../choices.js';
import { keyOf, valueOf, type Layout } from './layout.js';
import { readMessages, readTemplateVariables, readTools } from './message-list.js';

const messageLayout = (name: string, column: ColumnName): Layout => ({
  name,
  requires: [column],
  allows: ['tools', 'chat_template_kwargs'],
  read(record, options) {
    const messages = readMessages(valueOf(record, column, options), keyOf(column, options), options);
    const tools = readTools(valueOf(record, 'tools', options), keyOf('tools', options));
    return {
      form: 'chat',
      messages,
      ...(tools === undefined ? {} : { tools }),
      ...readTemplateVariables(record, options),
    };
  },
});

/** Whetstone's layout: `{"conversation": [{"role", "content"}, …], "tools"?}`. */
export const conversationLayout = messageLayout('conversation', 'conversation');

/** The layout of OpenAI and TRL: `{"messages": [{"role", "content", "tool_calls"?}, …], "tools"?}`. */
export const messagesLayout = messageLayout('messages', 'messages');
