import { isWhetstoneError } from '@whetstone/core/contract';
import type { Conversation, Origin } from '@whetstone/core/contract';
import type { Tokenized, Tokenizing } from '../examples/tokenize.js';

/** A turn that was looked at and found wanting. */
export interface TurnFinding {
  readonly origin: Origin;
  /** The message, counted from 0. */
  readonly message: number;
  readonly detail: string;
}

/** What is known of a data set's supervision, once all of it was tokenised. */
export interface SupervisionFindings {
  /** Turns that are to be learned. */
  readonly turns: number;
  /** Turns whose end is not learned: a model that never learns to stop. */
  readonly withoutStop: { readonly count: number; readonly first: readonly TurnFinding[] };
  /** Turns of which the prompt that serving would send was compared with the training text before the turn. */
  readonly prefixesChecked: number;
  /** Turns of which the two differ. */
  readonly otherPrefix: { readonly count: number; readonly first: readonly TurnFinding[] };
}

/**
 * Whether a conversation's prompts are rendered once more, as serving would, and compared: the first of each file, and
 * a few everywhere.
 */
const isCompared = ({ line, index }: Origin): boolean => {
  const place = line ?? index + 1;
  return place <= 64 || place % 101 === 0;
};
/**
 * Of a long conversation, the prompts of its first turns and of its last are compared: each costs a rendering of
 * everything before it.
 */
const COMPARED_TURNS = 4;
const KEPT_FINDINGS = 10;

class Findings {
  count = 0;
  readonly first: TurnFinding[] = [];
  add(finding: TurnFinding): void {
    this.count++;
    if (this.first.length < KEPT_FINDINGS) this.first.push(finding);
  }
}

/** The findings of two parts of a data set as those of both. */
export function mergeFindings(one: SupervisionFindings, other: SupervisionFindings): SupervisionFindings {
  const both = (
    a: SupervisionFindings['withoutStop'],
    b: SupervisionFindings['withoutStop'],
  ): SupervisionFindings['withoutStop'] => ({
    count: a.count + b.count,
    first: [...a.first, ...b.first].slice(0, KEPT_FINDINGS),
  });
  return {
    turns: one.turns + other.turns,
    withoutStop: both(one.withoutStop, other.withoutStop),
    prefixesChecked: one.prefixesChecked + other.prefixesChecked,
    otherPrefix: both(one.otherPrefix, other.otherPrefix),
  };
}

/** Looks at conversations as they are tokenised. */
export interface SupervisionObserver {
  /** @param whole the conversation's tokens before they are cut to length */
  observe(conversation: Conversation, whole: Tokenized): void;
  findings(): SupervisionFindings;
}

/**
 * Where the prompt of serving and the start of the training text part: null where the prompt is that start, token for
 * token, and reaches to the turn.
 */
function difference(prompt: readonly number[], ids: readonly number[], turnStart: number): number | null {
  const parts = prompt.findIndex((id, index) => ids[index] !== id);
  if (parts !== -1) return parts;
  return prompt.length < turnStart ? prompt.length : null;
}

/** Makes an observer of the turns' ends and of the prompts that serving would send. */
export function createSupervisionObserver({ tokenizer, renderer }: Tokenizing): SupervisionObserver {
  const stops = new Set(renderer.stopTokenIds);
  const withoutStop = new Findings();
  const otherPrefix = new Findings();
  let turns = 0;
  let prefixesChecked = 0;

  function comparePrompt(conversation: Conversation, message: number, ids: readonly number[], turnStart: number): void {
    const { messages, tools, origin } = conversation;
    let prompt: readonly number[];
    try {
      prompt = tokenizer.encode(renderer.renderPrompt(messages.slice(0, message), tools));
    } catch (error) {
      if (!isWhetstoneError(error)) throw error;
      otherPrefix.add({
        origin,
        message,
        detail: `the template cannot render the messages before it as a prompt: ${error.message}`,
      });
      return;
    }
    const at = difference(prompt, ids, turnStart);
    if (at === null) return;
    const around = (all: readonly number[]): string =>
      JSON.stringify(tokenizer.decode(all.slice(Math.max(0, at - 4), at + 8)));
    otherPrefix.add({
      origin,
      message,
      detail: `at token ${at}, training has ${around(ids)} where serving sends ${around(prompt)}`,
    });
  }

  return {
    observe(conversation, { ids, turns: learned = [] }) {
      const compares = isCompared(conversation.origin);
      for (const [index, { message, tokens }] of learned.entries()) {
        if (!tokens) continue;
        turns++;
        if (!ids.slice(tokens.start, tokens.end).some((id) => stops.has(id))) {
          const end = JSON.stringify(tokenizer.decode(ids.slice(Math.max(tokens.start, tokens.end - 4), tokens.end)));
          withoutStop.add({ origin: conversation.origin, message, detail: `the turn ends in ${end}` });
        }
        // Only an assistant's turn is ever asked for, and a prompt needs something to answer.
        if (
          compares &&
          (index < COMPARED_TURNS || index === learned.length - 1) &&
          message > 0 &&
          conversation.messages[message]?.role === 'assistant'
        ) {
          prefixesChecked++;
          comparePrompt(conversation, message, ids, tokens.start);
        }
      }
    },
    findings: () => ({
      turns,
      withoutStop: { count: withoutStop.count, first: withoutStop.first },
      prefixesChecked,
      otherPrefix: { count: otherPrefix.count, first: otherPrefix.first },
    }),
  };
}
