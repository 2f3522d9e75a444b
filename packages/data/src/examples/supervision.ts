import type { BatchOptions, EncodedText, Message, TextSpan } from '@whetstone/core/contract';

/** What of a conversation is learned. */
export type SupervisionOptions = Pick<
  BatchOptions,
  'assistantOnlyLoss' | 'completionOnlyLoss' | 'rolesToTrain' | 'lastTurnOnly' | 'roleWeights'
>;

/** How much a turn counts in the loss: its own `weight` first, then that of its role. */
export const weightOf = (message: Message, { roleWeights }: Pick<SupervisionOptions, 'roleWeights'>): number =>
  message.weight ?? roleWeights[message.role] ?? 1;

/** Whether a message is part of a prompt of which nothing is learned. */
export const isUnlearnedPrompt = (
  message: Message,
  { completionOnlyLoss }: Pick<SupervisionOptions, 'completionOnlyLoss'>,
): boolean => completionOnlyLoss && message.isPrompt === true;

/**
 * Whether each message is learned from: its own `train` first, then whether it is a prompt, then its role; never one
 * that counts 0.
 */
export function turnsToLearn(messages: readonly Message[], options: SupervisionOptions): boolean[] {
  const learned = messages.map(
    (message) =>
      weightOf(message, options) > 0 &&
      (message.train ??
        (!isUnlearnedPrompt(message, options) &&
          (!options.assistantOnlyLoss || options.rolesToTrain.includes(message.role)))),
  );
  if (!options.lastTurnOnly) return learned;
  const last = learned.lastIndexOf(true);
  return learned.map((_, index) => index === last);
}

/** Tokens `start` up to `end`. */
export interface TokenRange {
  readonly start: number;
  readonly end: number;
}

/**
 * The tokens that share a character with each span, null where none does. Tokens and spans both run left to right. A
 * token that starts before a span and ends in it belongs to it, as in transformers' `char_to_token`; a token without
 * characters belongs to the span around it.
 */
export function tokenRanges(encoded: EncodedText, spans: readonly TextSpan[]): (TokenRange | null)[] {
  const { ids, starts, ends } = encoded;
  let start = 0;
  return spans.map((span) => {
    while (start < ids.length && (ends[start] ?? 0) <= span.start) start++;
    // A token may reach from one span into the next: the next span looks again from here.
    let end = start;
    while (end < ids.length && (starts[end] ?? 0) < span.end) end++;
    return end > start ? { start, end } : null;
  });
}

/**
 * What each token counts: the weight of the turn that it belongs to, and 1 outside of all; undefined where all count 1.
 */
export function weightsOf(
  tokens: number,
  turns: readonly { readonly range: TokenRange | null; readonly weight: number }[],
): Float32Array | undefined {
  const weighted = turns.filter(({ range, weight }) => range !== null && weight !== 1);
  if (weighted.length === 0) return undefined;
  const weights = new Float32Array(tokens).fill(1);
  for (const { range, weight } of weighted) if (range) weights.fill(weight, range.start, range.end);
  return weights;
}

/** 1 at the tokens of the ranges, else 0. */
export function marksOf(tokens: number, ranges: readonly (TokenRange | null)[]): Uint8Array {
  const marks = new Uint8Array(tokens);
  for (const range of ranges) if (range) marks.fill(1, range.start, range.end);
  return marks;
}
