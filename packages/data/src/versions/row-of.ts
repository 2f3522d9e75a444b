import type { Conversation } from '@whetstone/core/contract';

/** A conversation as a line of JSON Lines: `{"messages", "tools"?, …columns}`, or the layout that its form needs. */
export function rowOf({ form, messages, tools, columns }: Conversation): string {
  const content = (index: number): unknown => messages[index]?.content;
  const parts =
    form === 'text'
      ? { text: content(0) }
      : form === 'completion'
        ? { prompt: content(0), completion: content(1) }
        : { messages, ...(tools === undefined ? {} : { tools }) };
  return `${JSON.stringify({ ...parts, ...columns })}\n`;
}
