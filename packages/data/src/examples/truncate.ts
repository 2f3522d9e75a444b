import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, Message } from '@whetstone/core/contract';
import type { Tokenize, Tokenized } from './tokenize.js';
import type { TruncationMode } from '../choices.js';

export interface Truncated extends Tokenized {
  readonly truncated: boolean;
}

/**
 * The first message of each exchange: where a user's turn starts after something else. Leading system messages belong
 * to no exchange.
 */
function exchangeStarts(messages: readonly Message[]): number[] {
  return messages.flatMap((message, index) =>
    message.role === 'user' && messages[index - 1]?.role !== 'user' ? [index] : [],
  );
}

/** The conversation without its first `count` exchanges. */
function withoutExchanges(messages: readonly Message[], starts: readonly number[], count: number): Message[] {
  const first = starts[0] ?? 0;
  const from = starts[count] ?? messages.length;
  return [...messages.slice(0, first), ...messages.slice(from)];
}

/**
 * Drops as few old exchanges as will do. How many can be kept is found by doubling and halving from the end, so that
 * little more is rendered than what stays. The last exchange always stays; where it alone is too long, its start is
 * kept.
 */
function dropTurns(conversation: Conversation, maxLength: number, tokenize: Tokenize): Tokenized {
  const { messages } = conversation;
  const starts = exchangeStarts(messages);
  if (conversation.form !== 'chat' || starts.length < 2) return tokenize(conversation);
  const keeping = (count: number): Tokenized =>
    tokenize(conversation, withoutExchanges(messages, starts, starts.length - count));
  let best = keeping(1);
  let fits = 1;
  let tooMany = starts.length;
  for (let count = 2; count < tooMany; count = Math.min(count * 2, tooMany)) {
    const tried = keeping(count);
    if (tried.ids.length > maxLength) tooMany = count;
    else [best, fits] = [tried, count];
  }
  while (fits + 1 < tooMany) {
    const middle = (fits + tooMany) >> 1;
    const tried = keeping(middle);
    if (tried.ids.length > maxLength) tooMany = middle;
    else [best, fits] = [tried, middle];
  }
  return best;
}

const cut = ({ ids, learned, weights }: Tokenized, start: number, end: number): Tokenized => ({
  ids: ids.slice(start, end),
  learned: learned.slice(start, end),
  ...(weights === undefined ? {} : { weights: weights.slice(start, end) }),
});

/** Cuts a sample to `maxLength` tokens. @throws CONTEXT_EXCEEDED under `error` */
export function truncate(
  conversation: Conversation,
  whole: Tokenized,
  maxLength: number | null,
  mode: TruncationMode,
  tokenize: Tokenize,
): Truncated {
  if (maxLength === null || whole.ids.length <= maxLength) return { ...whole, truncated: false };
  switch (mode) {
    case 'keep_start':
      return { ...cut(whole, 0, maxLength), truncated: true };
    case 'keep_end':
      return { ...cut(whole, whole.ids.length - maxLength, whole.ids.length), truncated: true };
    case 'drop_turns': {
      const rest = dropTurns(conversation, maxLength, tokenize);
      return { ...cut(rest, 0, maxLength), truncated: true };
    }
    case 'error': {
      const { file, line } = conversation.origin;
      throw new WhetstoneError('CONTEXT_EXCEEDED', 'A conversation is longer than the length that training keeps.', {
        place: { ...(file === undefined ? {} : { file }), ...(line === undefined ? {} : { line }) },
        expected: `at most ${maxLength} tokens (maxLength)`,
        found: `${whole.ids.length} tokens`,
        hint: 'Raise "maxLength", or choose another "truncationMode": keep_start, keep_end or drop_turns.',
      });
    }
  }
}
