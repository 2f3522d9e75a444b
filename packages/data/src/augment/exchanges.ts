import type { Conversation, Message } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import type { Random } from '@whetstone/core/random';

/** Splits a chat into exchanges, each from one user's turn up to the next, and the messages before the first one. */
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

/** Removes a random exchange other than the last. Returns null if there are fewer than three exchanges. */
export function dropExchange({ messages }: Pick<Conversation, 'messages'>, random: Random): Message[] | null {
  const { before, exchanges } = exchangesOf(messages);
  if (exchanges.length < 3) return null;
  const dropped = random.integer(exchanges.length - 1);
  return [...before, ...exchanges.filter((_, index) => index !== dropped).flat()];
}

/**
 * Merges two adjacent exchanges: their questions become one message, and so do their answers. Returns null if there are
 * no two adjacent exchanges of one text question and one text answer.
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

/** Joins related single exchanges to conversations with several turns. */
export interface Joiner {
  /** Adds an exchange. Returns a joined conversation that ends with it, once there are enough related exchanges. */
  add(conversation: Conversation, random: Random): Message[] | null;
}

/** Creates a joiner for exchanges with the same value in a column (`topic`), `turns` at a time. */
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
      // One exchange stays in memory as the first of the next conversation.
      const joined = others.splice(0);
      others.push(joined[random.integer(joined.length - 1)] as Message[]);
      return [...before, ...joined.flat()];
    },
  };
}
