import type { BatchOptions, EncodedText, Message, TextSpan } from '@whetstone/core/contract';
import { ownValue } from '@whetstone/core/util';

/** The options that decide which tokens of a conversation are targets, and with which weight. */
export type SupervisionOptions = Pick<
  BatchOptions,
  'assistantOnlyLoss' | 'completionOnlyLoss' | 'rolesToTrain' | 'lastTurnOnly' | 'roleWeights'
>;

/** Returns the weight of a turn in the loss: its own `weight`, or the weight of its role, or 1. */
export const weightOf = (message: Message, { roleWeights }: Pick<SupervisionOptions, 'roleWeights'>): number =>
  message.weight ?? ownValue(roleWeights, message.role) ?? 1;

/** Returns whether a message belongs to a prompt that `completionOnlyLoss` excludes from the loss. */
export const isMaskedPrompt = (
  message: Message,
  { completionOnlyLoss }: Pick<SupervisionOptions, 'completionOnlyLoss'>,
): boolean => completionOnlyLoss && message.isPrompt === true;

/**
 * Returns for each message whether it is supervised. Its own `train` has priority over whether it is a prompt, and that
 * over its role. A message with weight 0 is never supervised.
 */
export function supervisedTurns(messages: readonly Message[], options: SupervisionOptions): boolean[] {
  const supervised = messages.map(
    (message) =>
      weightOf(message, options) > 0 &&
      (message.train ??
        (!isMaskedPrompt(message, options) &&
          (!options.assistantOnlyLoss || options.rolesToTrain.includes(message.role)))),
  );
  if (!options.lastTurnOnly) return supervised;
  const last = supervised.lastIndexOf(true);
  return supervised.map((_, index) => index === last);
}

/** Tokens from `start` to `end`, exclusive. */
export interface TokenRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Returns for each span the tokens that share a character with it, or null. Spans must be sorted. A token that starts
 * before a span and ends in it belongs to it, as in transformers' `char_to_token`. A token without characters belongs
 * to the span around it.
 */
export function tokenRanges(encoded: EncodedText, spans: readonly TextSpan[]): (TokenRange | null)[] {
  const { ids, starts, ends } = encoded;
  let start = 0;
  return spans.map((span) => {
    while (start < ids.length && (ends[start] ?? 0) <= span.start) start++;
    // A token may overlap two spans, so the next span starts the search here again.
    let end = start;
    while (end < ids.length && (starts[end] ?? 0) < span.end) end++;
    return end > start ? { start, end } : null;
  });
}

/**
 * Returns the weight of each token: that of its turn, or 1 outside of turns. Returns undefined if all weights are 1.
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

/** Returns an array with 1 at the tokens of the ranges and 0 elsewhere. */
export function marksOf(tokens: number, ranges: readonly (TokenRange | null)[]): Uint8Array {
  const marks = new Uint8Array(tokens);
  for (const range of ranges) if (range) marks.fill(1, range.start, range.end);
  return marks;
}
