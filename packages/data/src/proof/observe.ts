import { isWhetstoneError } from '@whetstone/core/contract';
import type { Conversation, Origin } from '@whetstone/core/contract';
import { reasoningOf } from '@whetstone/core/util';
import type { Tokenized, Tokenizing } from '../examples/tokenize.js';

/** A problem with a turn. */
export interface TurnFinding {
  readonly origin: Origin;
  /** The message, counted from 0. */
  readonly message: number;
  readonly detail: string;
}

/** The findings of the supervision proof in a data set. */
export interface SupervisionFindings {
  /** Number of supervised turns. */
  readonly turns: number;
  /** Supervised turns without a stop token. */
  readonly withoutStop: { readonly count: number; readonly first: readonly TurnFinding[] };
  /** Turns whose prompt in serving was compared with the training text before the turn. */
  readonly prefixesChecked: number;
  /** Turns whose prompt differs from the training text. */
  readonly otherPrefix: { readonly count: number; readonly first: readonly TurnFinding[] };
  /** Supervised turns whose reasoning the template does not write. */
  readonly withoutReasoning: { readonly count: number; readonly first: readonly TurnFinding[] };
}

/** Returns whether the prompts of a conversation are compared: in the first rows of each file, and in every 101st. */
const isCompared = ({ line, index }: Origin): boolean => {
  const row = line ?? index + 1;
  return row <= 64 || row % 101 === 0;
};
/**
 * Turns of a conversation that are compared, in addition to the last: each comparison renders all messages before it.
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

/** Merges the findings of two consecutive blocks of data. */
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
    withoutReasoning: both(one.withoutReasoning, other.withoutReasoning),
  };
}

/** Collects findings while conversations are tokenized. */
export interface SupervisionObserver {
  /** @param full the tokens of the complete conversation, before truncation */
  observe(conversation: Conversation, full: Tokenized): void;
  findings(): SupervisionFindings;
}

/**
 * Returns the first token at which the prompt differs from the training text. Returns null if the training text starts
 * with the prompt and the prompt extends to the start of the turn.
 */
function firstDifference(prompt: readonly number[], ids: readonly number[], turnStart: number): number | null {
  const different = prompt.findIndex((id, index) => ids[index] !== id);
  if (different !== -1) return different;
  return prompt.length < turnStart ? prompt.length : null;
}

/** Creates an observer that checks the stop tokens of turns and the prompts before them. */
export function createSupervisionObserver(tokenizing: Tokenizing): SupervisionObserver {
  return new Observer(tokenizing);
}

class Observer implements SupervisionObserver {
  private readonly stops: ReadonlySet<number>;
  private readonly withoutStop = new Findings();
  private readonly otherPrefix = new Findings();
  private readonly withoutReasoning = new Findings();
  private turns = 0;
  private prefixesChecked = 0;

  constructor(private readonly tokenizing: Tokenizing) {
    this.stops = new Set(tokenizing.renderer.stopTokenIds);
  }

  observe(conversation: Conversation, { ids, turns: supervised = [] }: Tokenized): void {
    const compares = isCompared(conversation.origin);
    for (const [index, { message, tokens }] of supervised.entries()) {
      if (!tokens) continue;
      this.turns++;
      this.checkStop(conversation.origin, message, ids.slice(tokens.start, tokens.end));
      this.checkReasoning(conversation, message, ids.slice(tokens.start, tokens.end));
      // Only assistant turns are generated in serving, and a prompt needs at least one message.
      if (
        compares &&
        (index < COMPARED_TURNS || index === supervised.length - 1) &&
        message > 0 &&
        conversation.messages[message]?.role === 'assistant'
      ) {
        this.prefixesChecked++;
        this.comparePrompt(conversation, message, ids, tokens.start);
      }
    }
  }

  findings(): SupervisionFindings {
    const { turns, withoutStop, prefixesChecked, otherPrefix, withoutReasoning } = this;
    return {
      turns,
      withoutStop: { count: withoutStop.count, first: withoutStop.first },
      prefixesChecked,
      otherPrefix: { count: otherPrefix.count, first: otherPrefix.first },
      withoutReasoning: { count: withoutReasoning.count, first: withoutReasoning.first },
    };
  }

  /** @param turn the tokens of the turn */
  private checkStop(origin: Origin, message: number, turn: readonly number[]): void {
    if (turn.some((id) => this.stops.has(id))) return;
    const end = JSON.stringify(this.tokenizing.tokenizer.decode(turn.slice(-4)));
    this.withoutStop.add({ origin, message, detail: `the turn ends in ${end}` });
  }

  /** @param turn the tokens of the turn */
  private checkReasoning({ messages, origin }: Conversation, message: number, turn: readonly number[]): void {
    const withoutSpace = (text: string): string => text.replace(/\s+/g, '');
    const reasoning = reasoningOf(messages[message] ?? {});
    if (reasoning.length === 0) return;
    const written = withoutSpace(this.tokenizing.tokenizer.decode(turn));
    const missing = reasoning.find((text) => !written.includes(withoutSpace(text)));
    if (missing === undefined) return;
    const start = JSON.stringify(missing.slice(0, 40));
    this.withoutReasoning.add({ origin, message, detail: `the template does not write the reasoning ${start}` });
  }

  /** Compares the prompt of a turn in serving with the training text before the turn. */
  private comparePrompt(
    { messages, tools, templateVariables, origin }: Conversation,
    message: number,
    ids: readonly number[],
    turnStart: number,
  ): void {
    const { tokenizer, renderer } = this.tokenizing;
    let prompt: readonly number[];
    try {
      prompt = tokenizer.encode(renderer.renderPrompt(messages.slice(0, message), tools, templateVariables));
    } catch (error) {
      if (!isWhetstoneError(error)) throw error;
      this.otherPrefix.add({
        origin,
        message,
        detail: `the template cannot render the preceding messages as a prompt: ${error.message}`,
      });
      return;
    }
    const at = firstDifference(prompt, ids, turnStart);
    if (at === null) return;
    const around = (all: readonly number[]): string =>
      JSON.stringify(tokenizer.decode(all.slice(Math.max(0, at - 4), at + 8)));
    this.otherPrefix.add({
      origin,
      message,
      detail: `at token ${at}, the training text has ${around(ids)} and the prompt ${around(prompt)}`,
    });
  }
}
