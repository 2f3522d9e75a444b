import type { Message, RenderedConversation, Tokenizer } from '@whetstone/core/contract';

/** A tokenizer that may know which tokens were added as wholes; of others, special tokens are taken to be. */
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
 * Small conversations that show how a template ends the assistant's turns: in between, at the end, and at a tool call.
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
];

/**
 * Ids that end an assistant's turn: the last token of what the template writes after the assistant's words, as rendered
 * and tokenised, and the tokenizer's end of text. Only tokens that ordinary text cannot spell count: `.` at a turn's
 * end stops nothing.
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
  let rendered: RenderedConversation;
  try {
    rendered = render(messages, tools);
  } catch {
    return [];
  }
  const { text, turns } = rendered;
  return turns.flatMap((turn, index) => {
    if (turn === null || messages[index]?.role !== 'assistant') return [];
    const end = text.slice(0, turn.end).trimEnd().length;
    const { ids, starts, ends } = tokenizer.encodeWithSpans(text);
    const last = ids.findIndex((_, token) => (starts[token] ?? 0) < end && (ends[token] ?? 0) >= end);
    const id = ids[last];
    const content = messages[index]?.content;
    const isOwn =
      typeof content === 'string' && content !== '' && text.slice(starts[last], ends[last]).includes(content);
    return id === undefined || isOwn || !isAtomic(tokenizer, id) ? [] : [id];
  });
}

/** Whether the token was added as a whole, so that ordinary text does not spell it. */
function isAtomic(tokenizer: StopTokenizer, id: number): boolean {
  return tokenizer.isAddedToken?.(id) ?? tokenizer.decode([id], { skipSpecialTokens: true }) === '';
}
