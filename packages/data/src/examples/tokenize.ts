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
  isUnlearnedPrompt,
  marksOf,
  tokenRanges,
  turnsToLearn,
  weightOf,
  weightsOf,
  type SupervisionOptions,
  type TokenRange,
} from './supervision.js';
import { specialTokensAround, type SpecialTokens } from './special-tokens.js';

/** Ids of a whole conversation, before it is cut to length. */
export interface Tokenized {
  readonly ids: readonly number[];
  /** 1 at each token that is learned. */
  readonly learned: Uint8Array;
  /** How much each token counts in the loss, where it is learned; absent where each counts 1. */
  readonly weights?: Float32Array;
  /** The turns of a chat that are to be learned, and their tokens; null where the template writes nothing of a turn. */
  readonly turns?: readonly { readonly message: number; readonly tokens: TokenRange | null }[];
}

/** Why a sample has nothing to learn from. */
export type NothingToLearnCause =
  /** It has no text. */
  | 'empty'
  /** It has no turn that is to be learned. */
  | 'role'
  /** It has one, but the template does not write it. */
  | 'template'
  /** It has one, but beyond the length that is kept. */
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
  const { text, turns } = renderer.render(messages, conversation.tools);
  const encoded = tokenizer.encodeWithSpans(text);
  const learns = turnsToLearn(messages, options);
  const empty: TextSpan = { start: 0, end: 0 };
  const ranges = tokenRangesInOrder(
    encoded,
    turns.map((span) => span ?? empty),
  );
  const all = messages.map((_, message) => ({ message, tokens: ranges[message] ?? null }));
  const { ids } = encoded;
  const wanted = all.filter(({ message }) => learns[message] === true);
  const weights = weightsOf(
    ids.length,
    wanted.map(({ message, tokens }) => ({ range: tokens, weight: weightOf(messages[message] as Message, options) })),
  );
  const weighted = weights === undefined ? {} : { weights };
  if (options.assistantOnlyLoss || options.lastTurnOnly) {
    return {
      ids,
      learned: marksOf(
        ids.length,
        wanted.map(({ tokens }) => tokens),
      ),
      turns: wanted,
      ...weighted,
    };
  }
  // Everything is learned, headers and all, besides the turns that say otherwise.
  const excluded = marksOf(
    ids.length,
    all.filter(({ message }) => learns[message] !== true).map(({ tokens }) => tokens),
  );
  // Of a prompt, that goes for what the template writes around its turns as well, up to where the completion begins.
  const completion = messages.findLastIndex((message) => isUnlearnedPrompt(message, options)) + 1;
  if (completion > 0) {
    excluded.fill(1, 0, all[completion]?.tokens?.start ?? ids.length);
    for (const { tokens } of wanted) if (tokens) excluded.fill(0, tokens.start, tokens.end);
  }
  return { ids, learned: excluded.map((mark) => 1 - mark), turns: wanted, ...weighted };
}

/**
 * Ranges of spans in any order: a template may write messages in another order than they come in (a system message
 * last).
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
 * Prompt and completion joined as they are, in the special tokens of the tokenizer and with the end of text, which is
 * learned.
 */
function tokenizeJoined(
  conversation: Conversation,
  tokenizer: Tokenizer,
  special: SpecialTokens,
  { completionOnlyLoss }: SupervisionOptions,
): Tokenized {
  const parts = conversation.messages.map((message) => textOf(message));
  const text = parts.join('');
  const learnedFrom = conversation.form === 'text' || !completionOnlyLoss ? 0 : (parts[0] ?? '').length;
  const encoded = tokenizer.encodeWithSpans(text);
  const inside = marksOf(encoded.ids.length, tokenRanges(encoded, [{ start: learnedFrom, end: text.length }]));
  const end = special.after.length > 0 ? special.after : tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId];
  const endThere =
    end.length > 0 && end.every((id, index) => encoded.ids[encoded.ids.length - end.length + index] === id);
  const after = endThere || text === '' ? [] : end;
  const learned = new Uint8Array(special.before.length + encoded.ids.length + after.length);
  learned.set(inside, special.before.length);
  learned.fill(1, special.before.length + encoded.ids.length);
  return { ids: [...special.before, ...encoded.ids, ...after], learned };
}

/**
 * Turns conversations into ids and marks, whole. `messages` may stand in for the conversation's own (some of its turns
 * left out).
 */
export type Tokenize = (conversation: Conversation, messages?: readonly Message[]) => Tokenized;

/**
 * Makes the function that tokenises conversations: a chat through the template, everything else as it stands.
 *
 * @throws TEMPLATE_FAILED, with the file and line of the conversation, from the function that is returned
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

/** The same error with the place of the conversation that it happened at. */
function locate(error: unknown, { origin }: Conversation): unknown {
  if (!isWhetstoneError(error)) return error;
  const { place, details } = error;
  return WhetstoneError.with(error, {
    place: place?.file === undefined ? { ...place, file: origin.file, line: origin.line } : place,
    details: { ...details, origin },
  });
}

/** Targets of a sample: learned tokens besides the first, which nothing predicts. */
export function countTargets(learned: Uint8Array): number {
  let targets = 0;
  for (let index = 1; index < learned.length; index++) targets += learned[index] ?? 0;
  return targets;
}

/** The example of ids and marks. */
export function toExample({ ids, learned }: Tokenized, origin: Example['origin']): Example {
  const all = Int32Array.from(ids);
  return { ids: all, labels: all.map((id, index) => (learned[index] === 1 ? id : IGNORED_LABEL)), origin };
}
