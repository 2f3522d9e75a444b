import { IGNORED_LABEL, isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import type {
  ChatRenderer,
  Conversation,
  EncodedText,
  Example,
  Message,
  TextSpan,
  Tokenizer,
} from '@whetstone/core/contract';
import { textOf } from './message-text.js';
import {
  isMaskedPrompt,
  marksOf,
  tokenRanges,
  supervisedTurns,
  weightOf,
  weightsOf,
  type SupervisionOptions,
  type TokenRange,
} from './supervision.js';

/** A tokenized conversation, before truncation. */
export interface Tokenized {
  readonly ids: readonly number[];
  /** 1 at target tokens, 0 at all others. */
  readonly supervised: Uint8Array;
  /** Weight of each token in the loss; absent if all weights are 1. */
  readonly weights?: Float32Array;
  /** The supervised turns of a chat with their tokens; null if the template does not write the turn. */
  readonly turns?: readonly { readonly message: number; readonly tokens: TokenRange | null }[];
}

/** Why a sample has no target tokens. */
export type NothingToLearnCause =
  /** It has no text. */
  | 'empty'
  /** It has no supervised turn. */
  | 'role'
  /** The template does not write its supervised turns. */
  | 'template'
  /** Truncation removes its supervised turns. */
  | 'truncation';

export interface Tokenizing {
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
}

function tokenizeChat(
  messages: readonly Message[],
  conversation: Conversation,
  { tokenizer, renderer }: Tokenizing,
  options: SupervisionOptions,
): Tokenized {
  const { text, turns, foreignSpans } = renderer.render(messages, conversation.tools, conversation.templateVariables);
  const encoded = tokenizer.encodeWithSpans(text);
  const isSupervised = supervisedTurns(messages, options);
  const empty: TextSpan = { start: 0, end: 0 };
  const ranges = tokenRangesInOrder(
    encoded,
    turns.map((span) => span ?? empty),
  );
  const all = messages.map((_, message) => ({ message, tokens: ranges[message] ?? null }));
  const { ids } = encoded;
  const targetTurns = all.filter(({ message }) => isSupervised[message] === true);
  const weights = weightsOf(
    ids.length,
    targetTurns.map(({ message, tokens }) => ({
      range: tokens,
      weight: weightOf(messages[message] as Message, options),
    })),
  );
  const weighted = weights === undefined ? {} : { weights };
  if (options.assistantOnlyLoss || options.lastTurnOnly) {
    return {
      ids,
      supervised: withoutForeign(encoded, messages, targetTurns, foreignSpans),
      turns: targetTurns,
      ...weighted,
    };
  }
  // All tokens are targets, including the template's own, except for the turns that are excluded.
  const excluded = marksOf(
    ids.length,
    all.filter(({ message }) => isSupervised[message] !== true).map(({ tokens }) => tokens),
  );
  // In a masked prompt the template's own tokens are excluded, too, up to the start of the completion.
  const completion = messages.findLastIndex((message) => isMaskedPrompt(message, options)) + 1;
  if (completion > 0) {
    excluded.fill(1, 0, all[completion]?.tokens?.start ?? ids.length);
    for (const { tokens } of targetTurns) if (tokens) excluded.fill(0, tokens.start, tokens.end);
  }
  return { ids, supervised: excluded.map((mark) => 1 - mark), turns: targetTurns, ...weighted };
}

/**
 * Marks the tokens of supervised turns. What another message wrote within a turn of the assistant, such as the result
 * of a tool, is a target only if that message is supervised itself.
 */
function withoutForeign(
  { ids, starts }: EncodedText,
  messages: readonly Message[],
  turns: readonly { readonly message: number; readonly tokens: TokenRange | null }[],
  foreign: readonly TextSpan[] = [],
): Uint8Array {
  const marks = marksOf(
    ids.length,
    turns.map(({ tokens }) => tokens),
  );
  if (foreign.length === 0) return marks;
  for (const { start, end } of foreign)
    for (const [index, at] of starts.entries()) if (at >= start && at < end) marks[index] = 0;
  for (const { message, tokens } of turns)
    if (tokens && messages[message]?.role !== 'assistant') marks.fill(1, tokens.start, tokens.end);
  return marks;
}

/**
 * Like `tokenRanges`, for unsorted spans: a template may write messages in a different order (a system message last).
 */
function tokenRangesInOrder(encoded: EncodedText, spans: readonly TextSpan[]): (TokenRange | null)[] {
  const order = spans.map((_, index) => index).sort((a, b) => (spans[a]?.start ?? 0) - (spans[b]?.start ?? 0));
  const sorted = tokenRanges(
    encoded,
    order.map((index) => spans[index] as TextSpan),
  );
  const ranges: (TokenRange | null)[] = [];
  order.forEach((index, position) => (ranges[index] = sorted[position] ?? null));
  return ranges;
}

/**
 * Tokenizes concatenated texts (prompt and completion, or one text) with the tokenizer's special tokens. The end of
 * text is a target token.
 */
function tokenizeJoined(
  conversation: Conversation,
  tokenizer: Tokenizer,
  special: SpecialTokens,
  { completionOnlyLoss }: SupervisionOptions,
): Tokenized {
  const texts = conversation.messages.map((message) => textOf(message));
  const text = texts.join('');
  const supervisedFrom = conversation.form === 'text' || !completionOnlyLoss ? 0 : (texts[0] ?? '').length;
  const encoded = tokenizer.encodeWithSpans(text);
  const inside = marksOf(encoded.ids.length, tokenRanges(encoded, [{ start: supervisedFrom, end: text.length }]));
  const end = special.after.length > 0 ? special.after : tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId];
  const endsWithEnd =
    end.length > 0 && end.every((id, index) => encoded.ids[encoded.ids.length - end.length + index] === id);
  const after = endsWithEnd || text === '' ? [] : end;
  const supervised = new Uint8Array(special.before.length + encoded.ids.length + after.length);
  supervised.set(inside, special.before.length);
  supervised.fill(1, special.before.length + encoded.ids.length);
  return { ids: [...special.before, ...encoded.ids, ...after], supervised };
}

/** Tokenizes a conversation without truncation; `messages` replaces its messages, for example without early turns. */
export type Tokenize = (conversation: Conversation, messages?: readonly Message[]) => Tokenized;

/**
 * Creates the function that tokenizes conversations. A chat is rendered by the chat template; other forms are tokenized
 * as they are.
 *
 * @throws `TEMPLATE_FAILED` from the returned function, with the file and line of the conversation
 */
export function createTokenize(tokenizing: Tokenizing, options: SupervisionOptions): Tokenize {
  const special = specialTokensAround(tokenizing.tokenizer);
  return (conversation, messages = conversation.messages) => {
    if (conversation.form !== 'chat') return tokenizeJoined(conversation, tokenizing.tokenizer, special, options);
    try {
      return tokenizeChat(messages, conversation, tokenizing, options);
    } catch (error) {
      throw locate(error, conversation);
    }
  };
}

/** Returns a copy of an error with the place of the conversation. */
function locate(error: unknown, { origin }: Conversation): unknown {
  if (!isWhetstoneError(error)) return error;
  const { place, details } = error;
  return WhetstoneError.with(error, {
    place: origin.file === undefined ? place : { file: origin.file, line: origin.line },
    details: { ...details, origin, ...(place?.file === undefined ? {} : { template: place.file }) },
  });
}

/** Counts the target tokens of a sample, without the first token, which is never predicted. */
export function countTargets(supervised: Uint8Array): number {
  let targets = 0;
  for (let index = 1; index < supervised.length; index++) targets += supervised[index] ?? 0;
  return targets;
}

/** Converts a tokenized conversation to ids and labels. */
export function toExample({ ids, supervised }: Tokenized, origin: Example['origin']): Example {
  const all = Int32Array.from(ids);
  return { ids: all, labels: all.map((id, index) => (supervised[index] === 1 ? id : IGNORED_LABEL)), origin };
}

/** The special tokens that a tokenizer adds around a text. */
interface SpecialTokens {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** Returns the special tokens, found by encoding a letter with and without them. */
function specialTokensAround(tokenizer: Tokenizer): SpecialTokens {
  const plain = tokenizer.encode('a', { addSpecialTokens: false });
  const withTokens = tokenizer.encode('a', { addSpecialTokens: true });
  const added = withTokens.length - plain.length;
  for (let before = 0; before <= added; before++) {
    if (plain.every((id, index) => withTokens[before + index] === id)) {
      return { before: withTokens.slice(0, before), after: withTokens.slice(before + plain.length) };
    }
  }
  return { before: [], after: [] };
}
