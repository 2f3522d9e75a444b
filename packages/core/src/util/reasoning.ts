import { isRecord } from './records.js';

/** The names of a message's reasoning, in the order in which transformers prefers them. */
export const REASONING_FIELDS = ['reasoning_content', 'thinking', 'reasoning'] as const;

/** Further names in public data, which no template reads. */
const UNREAD_FIELDS = ['reasoning_text', 'reasoning_details', 'thinking_content', 'thoughts', 'thought'] as const;

/** The types of content parts that are reasoning; the key of their text has the same name, or is `text`. */
const PART_TYPES: readonly unknown[] = ['thinking', 'reasoning'];

/** The marks that end reasoning within a content, each with the mark that starts it. */
const MARKS = [
  ['<think>', '</think>'],
  ['<thinking>', '</thinking>'],
  ['[THINK]', '[/THINK]'],
] as const;

/** Returns whether a part of a content is reasoning. */
export const isReasoningPart = (part: unknown): part is Readonly<Record<string, unknown>> =>
  isRecord(part) && PART_TYPES.includes(part['type']);

/** Returns the text of a value that is text, a list of texts, or parts with a text. */
export function reasoningText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map((item: unknown) => reasoningText(item)).join('');
  if (!isRecord(value)) return '';
  const key = ['thinking', 'reasoning', 'text', 'content', 'summary'].find((name) => reasoningText(value[name]) !== '');
  return key === undefined ? '' : reasoningText(value[key]);
}

/** Returns the texts of a message that are reasoning in its fields or in parts of its content, each once. */
export function reasoningBesideText(message: Readonly<Record<string, unknown>>): string[] {
  const fields = [...REASONING_FIELDS, ...UNREAD_FIELDS].map((name) => reasoningText(message[name]));
  const { content } = message;
  return distinct(
    Array.isArray(content) ? [...fields, content.filter(isReasoningPart).map(reasoningText).join('')] : fields,
  );
}

/** Like {@link reasoningBesideText}, with what the content marks by `<think>`, `<thinking>` or `[THINK]`. */
export function reasoningOf(message: Readonly<Record<string, unknown>>): string[] {
  const { content } = message;
  const texts: readonly unknown[] = Array.isArray(content)
    ? content.map((part: unknown) => (isRecord(part) && part['type'] === 'text' ? part['text'] : undefined))
    : [content];
  return distinct([...reasoningBesideText(message), ...texts.flatMap(markedReasoning)]);
}

const distinct = (texts: readonly string[]): string[] =>
  [...new Set(texts.map((text) => text.trim()))].filter((text) => text !== '');

/** Returns what a text marks as reasoning. The first mark may lack its start, which prompts often contain. */
function markedReasoning(text: unknown): string[] {
  if (typeof text !== 'string') return [];
  return MARKS.flatMap(([start, end]) =>
    text
      .split(end)
      .slice(0, -1)
      .flatMap((before, index) => {
        const at = before.lastIndexOf(start);
        if (at >= 0) return [before.slice(at + start.length)];
        return index === 0 ? [before] : [];
      }),
  );
}
