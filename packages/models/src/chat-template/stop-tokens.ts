import type { Message, RenderedConversation, Tokenizer } from '@whetstone/core/contract';
import { isLimit, rethrowLimit } from './limit.js';

/** The roles of results of tools. */
const RESULT_ROLES: readonly string[] = ['tool', 'observation'];

/** A tokenizer that may recognise added tokens. Without `isAddedToken`, special tokens count as added. */
export type StopTokenizer = Tokenizer & { isAddedToken?(id: number): boolean };

const call = { type: 'function', function: { name: 'f', arguments: { x: 'y' } } } as const;
const tool = {
  type: 'function',
  function: {
    name: 'f',
    description: 'd',
    parameters: { type: 'object', properties: { x: { type: 'string', description: 'd' } }, required: ['x'] },
  },
} as const;

/**
 * Conversations that show how a template ends the assistant's turns: in the middle, at the end and at a tool call.
 * GLM's first templates write a call as text with `metadata`, and its result as the role `observation`.
 */
const conversations: readonly { readonly messages: readonly Message[]; readonly tools?: readonly (typeof tool)[] }[] = [
  {
    messages: [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
      { role: 'user', content: 'c' },
      { role: 'assistant', content: 'd' },
    ],
  },
  {
    messages: [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: '', tool_calls: [call] },
      { role: 'tool', name: 'f', content: 'z' },
      { role: 'assistant', content: 'd' },
    ],
    tools: [tool],
  },
  {
    messages: [
      { role: 'user', content: 'a' },
      { role: 'assistant', metadata: 'f', content: '{"x": "y"}' },
      { role: 'observation', content: 'z' },
      { role: 'assistant', content: 'd' },
    ],
  },
];

/**
 * Returns the ids that end an assistant's turn: the last token of each rendered turn, and the tokenizer's end token.
 * Only added tokens count; ordinary text such as `.` at the end of a turn is not a stop token.
 */
export function findStopTokens(
  render: (messages: readonly Message[], tools?: readonly (typeof tool)[]) => RenderedConversation,
  tokenizer: StopTokenizer,
): readonly number[] {
  const stops = new Set<number>();
  for (const { messages, tools } of conversations) {
    for (const id of turnEnds(messages, tools, render, tokenizer)) stops.add(id);
  }
  if (tokenizer.eosTokenId !== null) stops.add(tokenizer.eosTokenId);
  return [...stops];
}

function turnEnds(
  messages: readonly Message[],
  tools: readonly (typeof tool)[] | undefined,
  render: (messages: readonly Message[], tools?: readonly (typeof tool)[]) => RenderedConversation,
  tokenizer: StopTokenizer,
): number[] {
  for (const [number, variant] of variantsOf(messages).entries()) {
    try {
      const rendered = render(variant, tools);
      // If the template drops the result of a call, it does not show how the turn before the result ends.
      if (variant.some(({ role }, index) => RESULT_ROLES.includes(role) && rendered.turns[index] === null)) return [];
      const ends = endsOfTurns(variant, rendered, tokenizer);
      if (ends.length > 0) return ends;
    } catch (error) {
      // The template rejects this conversation; try the next one. A bound that a form exceeds is not met again: if the
      // data has that form, the error of its conversation has a place.
      if (number === 0) rethrowLimit(error);
      else if (isLimit(error)) return [];
    }
  }
  return [];
}

/** Returns a conversation in the forms that templates may require: as it is, with instructions, as parts, shortened. */
function variantsOf(messages: readonly Message[]): (readonly Message[])[] {
  const asParts = messages.map((message) =>
    typeof message.content === 'string' && message.content !== ''
      ? { ...message, content: [{ type: 'text' as const, text: message.content }] }
      : message,
  );
  const forms = [messages, asParts];
  const instructed = forms.map((form) => [{ role: 'system', content: 's' }, ...form]);
  return [...forms, ...instructed, ...[...forms, ...instructed].map((form) => form.slice(0, form.length - 2))];
}

function endsOfTurns(
  messages: readonly Message[],
  { text, turns }: RenderedConversation,
  tokenizer: StopTokenizer,
): number[] {
  return turns.flatMap((turn, index) => {
    if (turn === null || messages[index]?.role !== 'assistant') return [];
    const end = text.slice(0, turn.end).trimEnd().length;
    const { ids, starts, ends } = tokenizer.encodeWithSpans(text);
    const last = ids.findIndex((_, token) => (starts[token] ?? 0) < end && (ends[token] ?? 0) >= end);
    const id = ids[last];
    const content = textOf(messages[index]);
    const belongsToContent = content !== '' && text.slice(starts[last], ends[last]).includes(content);
    return id === undefined || belongsToContent || !isAtomic(tokenizer, id) ? [] : [id];
  });
}

/** Returns the text of a message. */
function textOf(message: Message | undefined): string {
  const { content } = message ?? {};
  if (typeof content === 'string') return content;
  return (content ?? []).map(({ text }) => text ?? '').join('');
}

/** Returns whether the token is an added token, which ordinary text does not produce. */
function isAtomic(tokenizer: StopTokenizer, id: number): boolean {
  return tokenizer.isAddedToken?.(id) ?? tokenizer.decode([id], { skipSpecialTokens: true }) === '';
}
