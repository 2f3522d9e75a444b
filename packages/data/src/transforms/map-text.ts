import type { ContentPart, Conversation, Message } from '@whetstone/core/contract';
import { isReasoningPart, isRecord, REASONING_FIELDS } from '@whetstone/core/util';

type Change = (text: string) => string;

function mapContent(content: Message['content'], change: Change): Message['content'] {
  if (content === null) return null;
  if (typeof content === 'string') return change(content);
  return content.map((part) => mapPart(part, change));
}

function mapPart(part: ContentPart, change: Change): ContentPart {
  if (part.type === 'text') return part.text === undefined ? part : { ...part, text: change(part.text) };
  return isReasoningPart(part) ? { ...part, ...mapTexts(part, [part.type, 'text'], change) } : part;
}

const mapItem = (item: unknown, change: Change): unknown =>
  typeof item === 'string' ? change(item) : isRecord(item) ? mapPart(item as ContentPart, change) : item;

/** Returns the fields that are text, or lists of parts with a text, changed. */
function mapTexts(fields: Readonly<Record<string, unknown>>, names: readonly string[], change: Change): object {
  return Object.fromEntries(
    names.flatMap((name): [string, unknown][] => {
      const value = fields[name];
      if (typeof value === 'string') return [[name, change(value)]];
      return Array.isArray(value) ? [[name, value.map((item: unknown) => mapItem(item, change))]] : [];
    }),
  );
}

/**
 * Applies `change` to every text of a conversation and to its reasoning, except for tool calls and tool definitions.
 * Returns the same object if no text changes.
 */
export function mapText(conversation: Conversation, change: (text: string, message: Message) => string): Conversation {
  let touched = false;
  const messages = conversation.messages.map((message) => {
    const changeText = (text: string): string => {
      const changed = change(text, message);
      if (changed !== text) touched = true;
      return changed;
    };
    const reasoning = mapTexts(message, REASONING_FIELDS, changeText);
    return { ...message, ...reasoning, content: mapContent(message.content, changeText) };
  });
  return touched ? { ...conversation, messages } : conversation;
}
