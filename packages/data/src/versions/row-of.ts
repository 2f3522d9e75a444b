import type { Conversation } from '@whetstone/core/contract';
import { stringifyExact } from '@whetstone/core/util';

/** Formats a conversation as a line of JSON Lines: `{"messages", "tools"?, …columns}`, or the layout of its form. */
export function rowOf({ form, messages, tools, templateVariables, columns }: Conversation): string {
  const content = (index: number): unknown => messages[index]?.content;
  const row =
    form === 'text'
      ? { text: content(0) }
      : form === 'completion'
        ? { prompt: content(0), completion: content(1) }
        : { messages, tools, chat_template_kwargs: templateVariables };
  return `${stringifyExact({ ...row, ...columns })}\n`;
}
