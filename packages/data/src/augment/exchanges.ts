import type { Conversation, Message, Origin } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import type { Random } from '@whetstone/core/random';
import { stringifyExact } from '@whetstone/core/util';
import { asksBack, canDrop, canMerge, languageOfExchange } from './dialogue.js';

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

/**
 * Removes a random exchange other than the last, so that a dialogue remains. Returns null if there are fewer than three
 * exchanges, or none can be removed; see {@link canDrop}.
 */
export function dropExchange({ messages }: Pick<Conversation, 'messages'>, random: Random): Message[] | null {
  const { before, exchanges } = exchangesOf(messages);
  if (exchanges.length < 3) return null;
  const candidates = exchanges.flatMap((_, index) => (canDrop(exchanges, index) ? [index] : []));
  if (candidates.length === 0) return null;
  const dropped = candidates[random.integer(candidates.length)];
  return [...before, ...exchanges.filter((_, index) => index !== dropped).flat()];
}

/**
 * Merges two adjacent exchanges: their questions become one message, and so do their answers. Returns null if there are
 * no two adjacent exchanges of one text question and one text answer that could have been asked at once; see
 * {@link canMerge}.
 */
export function mergeExchanges({ messages }: Pick<Conversation, 'messages'>, random: Random): Message[] | null {
  const { before, exchanges } = exchangesOf(messages);
  const candidates = exchanges.flatMap((exchange, index) =>
    isPlain(exchange) && isPlain(exchanges[index + 1] ?? []) && canMerge(exchanges, index) ? [index] : [],
  );
  if (candidates.length === 0) return null;
  const first = candidates[random.integer(candidates.length)] as number;
  const merged = [0, 1].map((side): Message => {
    const [one, two] = [exchanges[first]?.[side], exchanges[first + 1]?.[side]] as [Message, Message];
    return { ...one, content: `${textOf(one)}\n${textOf(two)}` };
  });
  return [...before, ...exchanges.slice(0, first).flat(), ...merged, ...exchanges.slice(first + 2).flat()];
}

/** The most groups of exchanges that wait for further ones. */
const MOST_WAITING = 10_000;

/** The messages of a joined conversation, and the conversations from which they are. */
interface Joined {
  readonly messages: readonly Message[];
  readonly origin: Origin;
}

/** Joins related single exchanges to conversations with several turns. */
export interface Joiner {
  /** Adds an exchange. Returns a joined conversation that ends with it, once there are enough related exchanges. */
  add(conversation: Conversation, random: Random): Joined | null;
}

/**
 * Creates a joiner for exchanges of one language, with the same value in a column (`topic`), the same system messages,
 * tools and template variables, `turns` at a time. An exchange whose answer ends in a question is not joined, as the
 * next user's turn would not answer it.
 */
export function createJoiner(column: string, turns: number): Joiner {
  const waiting = new Map<string, { readonly exchange: readonly Message[]; readonly origin: Origin }[]>();
  return {
    add({ messages, tools, templateVariables, columns, form, origin }, random) {
      const topic = columns?.[column];
      const { before, exchanges } = exchangesOf(messages);
      const exchange = exchanges[0];
      if (form !== 'chat' || typeof topic !== 'string' || exchanges.length !== 1) return null;
      if (exchange === undefined || !isPlain(exchange) || asksBack(exchange)) return null;
      const language = languageOfExchange(exchange);
      if (language === null) return null;
      const key = stringifyExact([topic, language, before, tools ?? null, templateVariables ?? null]);
      const others = waiting.get(key) ?? [];
      waiting.set(key, others);
      // Unrelated exchanges of large data, each with its own system message, must not fill the memory.
      if (waiting.size > MOST_WAITING) waiting.delete(waiting.keys().next().value ?? '');
      const question = (one: readonly Message[]): string =>
        one
          .slice(0, 1)
          .map((message) => textOf(message))
          .join('');
      if (others.some((one) => question(one.exchange) === question(exchange))) return null;
      others.push({ exchange: [...exchange], origin });
      if (others.length < turns) return null;
      // One exchange stays in memory as the first of the next conversation.
      const joined = others.splice(0);
      others.push(joined[random.integer(joined.length - 1)] as (typeof joined)[number]);
      return {
        messages: [...before, ...joined.flatMap((one) => one.exchange)],
        origin: { ...origin, others: joined.slice(0, -1).map((one) => one.origin) },
      };
    },
  };
}
