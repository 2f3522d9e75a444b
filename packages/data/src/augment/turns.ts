import type { Conversation, Message } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import type { Random } from '@whetstone/core/random';

/** The exchanges of a chat, each from one user's turn up to the next, and what stands before the first. */
function exchangesOf(messages: readonly Message[]): {
  readonly before: readonly Message[];
  readonly exchanges: readonly (readonly Message[])[];
} {
  const starts = messages.flatMap(({ role }, index) => (role === 'user' ? [index] : []));
  return {
    before: messages.slice(0, starts[0] ?? messages.length),
    exchanges: starts.map((start, index) => messages.slice(start, starts[index + 1] ?? messages.length)),
  };
}

const isPlain = (exchange: readonly Message[]): boolean =>
  exchange.length === 2 &&
  exchange[1]?.role === 'assistant' &&
  exchange.every(({ content }) => typeof content === 'string');

/**
 * The conversation without one of its earlier exchanges; null where it has fewer than three. The last stays, as it is
 * what is answered.
 */
export function dropExchange({ messages }: Pick<Conversation, 'messages'>, random: Random): Message[] | null {
  const { before, exchanges } = exchangesOf(messages);
  if (exchanges.length < 3) return null;
  const dropped = random.integer(exchanges.length - 1);
  return [...before, ...exchanges.filter((_, index) => index !== dropped).flat()];
}

/**
 * The conversation with two neighbouring exchanges asked and answered at once; null where there are no two plain ones.
 */
export function mergeExchanges({ messages }: Pick<Conversation, 'messages'>, random: Random): Message[] | null {
  const { before, exchanges } = exchangesOf(messages);
  const candidates = exchanges.flatMap((exchange, index) =>
    index + 1 < exchanges.length && isPlain(exchange) && isPlain(exchanges[index + 1] ?? []) ? [index] : [],
  );
  if (candidates.length === 0) return null;
  const first = candidates[random.integer(candidates.length)] as number;
  const merged = [0, 1].map((side): Message => {
    const [one, two] = [exchanges[first]?.[side], exchanges[first + 1]?.[side]] as [Message, Message];
    return { ...one, content: `${textOf(one)}\n${textOf(two)}` };
  });
  return [...before, ...exchanges.slice(0, first).flat(), ...merged, ...exchanges.slice(first + 2).flat()];
}

/** Collects single exchanges and joins related ones into conversations of several turns. */
export interface Joiner {
  /**
   * A conversation of several turns, when enough related exchanges came together; its last exchange is the one that was
   * just given.
   */
  add(conversation: Conversation, random: Random): Message[] | null;
}

/**
 * Joins single exchanges under the same value of a column (`topic`), `turns` at a time. A few exchanges a topic wait in
 * memory.
 */
export function createJoiner(column: string, turns: number): Joiner {
  const waiting = new Map<string, Message[][]>();
  return {
    add({ messages, columns, form }, random) {
      const topic = columns?.[column];
      const { before, exchanges } = exchangesOf(messages);
      const exchange = exchanges[0];
      if (
        form !== 'chat' ||
        typeof topic !== 'string' ||
        exchanges.length !== 1 ||
        exchange === undefined ||
        !isPlain(exchange)
      )
        return null;
      const others = waiting.get(topic) ?? [];
      waiting.set(topic, others);
      if (others.some(([question]) => question !== undefined && textOf(question) === textOf(exchange[0] as Message)))
        return null;
      others.push([...exchange]);
      if (others.length < turns) return null;
      // One waits on, so that the next conversation does not start from nothing.
      const joined = others.splice(0);
      others.push(joined[random.integer(joined.length - 1)] as Message[]);
      return [...before, ...joined.flat()];
    },
  };
}
