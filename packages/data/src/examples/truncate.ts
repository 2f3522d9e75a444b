import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, Message } from '@whetstone/core/contract';
import type { Tokenize, Tokenized } from './tokenize.js';
import type { TruncationMode } from '../choices.js';

export interface Truncated extends Tokenized {
  readonly truncated: boolean;
}

/** Returns the index of the first message of each exchange: a user's turn that does not follow a user's turn. */
function exchangeStarts(messages: readonly Message[]): number[] {
  return messages.flatMap((message, index) =>
    message.role === 'user' && messages[index - 1]?.role !== 'user' ? [index] : [],
  );
}

/** Removes the first `count` exchanges; messages before the first exchange are kept. */
function withoutExchanges(messages: readonly Message[], starts: readonly number[], count: number): Message[] {
  const first = starts[0] ?? 0;
  const from = starts[count] ?? messages.length;
  return [...messages.slice(0, first), ...messages.slice(from)];
}

/**
 * Removes as few old exchanges as necessary. A search from the end (doubling, then bisection) finds how many fit, so
 * that little more is rendered than is kept. The last exchange is always kept, even if it alone is too long.
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

const cut = ({ ids, supervised, weights }: Tokenized, start: number, end: number): Tokenized => ({
  ids: ids.slice(start, end),
  supervised: supervised.slice(start, end),
  ...(weights === undefined ? {} : { weights: weights.slice(start, end) }),
});

/**
 * Truncates a sample to `maxLength` tokens.
 *
 * @param full the tokens of the complete conversation
 * @throws `CONTEXT_EXCEEDED` if the sample is longer and the mode is `error`
 */
export function truncate(
  conversation: Conversation,
  full: Tokenized,
  maxLength: number | null,
  mode: TruncationMode,
  tokenize: Tokenize,
): Truncated {
  if (maxLength === null || full.ids.length <= maxLength) return { ...full, truncated: false };
  switch (mode) {
    case 'keep_start':
      return { ...cut(full, 0, maxLength), truncated: true };
    case 'keep_end':
      return { ...cut(full, full.ids.length - maxLength, full.ids.length), truncated: true };
    case 'drop_turns': {
      const rest = dropTurns(conversation, maxLength, tokenize);
      return { ...cut(rest, 0, maxLength), truncated: true };
    }
    case 'error': {
      const { file, line } = conversation.origin;
      throw new WhetstoneError('CONTEXT_EXCEEDED', 'A conversation is longer than "maxLength".', {
        place: { file, line },
        expected: `at most ${maxLength} tokens (maxLength)`,
        found: `${full.ids.length} tokens`,
        hint: 'Raise "maxLength", or set "truncationMode" to "keep_start", "keep_end" or "drop_turns".',
      });
    }
  }
}
