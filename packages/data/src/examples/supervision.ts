import type { BatchOptions, EncodedText, Message, TextSpan } from '@whetstone/core/contract';

/** What of a conversation is learned. */
export type SupervisionOptions = Pick<BatchOptions, 'assistantOnlyLoss' | 'rolesToTrain' | 'lastTurnOnly'>;

/** Whether each message is learned from: its own `train` first, then its role. */
export function turnsToLearn(messages: readonly Message[], options: SupervisionOptions): boolean[] {
  const learned = messages.map((message) => message.train ?? (!options.assistantOnlyLoss || options.rolesToTrain.includes(message.role)));
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
 * The tokens that share a character with each span, null where none does. Tokens and spans both run left to right. A token that starts before a span and
 * ends in it belongs to it, as in transformers' `char_to_token`; a token without characters belongs to the span around it.
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

/** 1 at the tokens of the ranges, else 0. */
export function marksOf(tokens: number, ranges: readonly (TokenRange | null)[]): Uint8Array {
  const marks = new Uint8Array(tokens);
  for (const range of ranges) if (range) marks.fill(1, range.start, range.end);
  return marks;
}
