import type { EncodedText, Message, TextSpan } from '@whetstone/core/contract';

export interface SupervisionOptions {
  /** Learn from the assistant's turns alone (the default), or from everything that the template writes. */
  readonly assistantOnlyLoss: boolean;
  /** The roles whose turns are learned under `assistantOnlyLoss`. */
  readonly rolesToTrain: readonly string[];
  /** Learn from the last turn to be learned alone. */
  readonly lastTurnOnly: boolean;
}

/** Whether each message is learned from: its own `train` first, then its role. */
export function turnsToLearn(messages: readonly Message[], options: SupervisionOptions): boolean[] {
  const learned = messages.map((message) => message.train ?? (!options.assistantOnlyLoss || options.rolesToTrain.includes(message.role)));
  if (!options.lastTurnOnly) return learned;
  const last = learned.lastIndexOf(true);
  return learned.map((_, index) => index === last);
}

/**
 * Marks the tokens that share a character with a span: 1 where they do, else 0. Both run left to right. A token that starts before a span and ends
 * in it belongs to it, as in transformers' `char_to_token`; a token without characters belongs to the span around it.
 */
export function tokensInSpans(encoded: EncodedText, spans: readonly TextSpan[]): Uint8Array {
  const { ids, starts, ends } = encoded;
  const marks = new Uint8Array(ids.length);
  let token = 0;
  for (const span of spans) {
    while (token < ids.length && (ends[token] ?? 0) <= span.start) token++;
    // A token may reach from one span into the next: look again from its start for the next span.
    for (let inside = token; inside < ids.length && (starts[inside] ?? 0) < span.end; inside++) {
      if ((ends[inside] ?? 0) > span.start) marks[inside] = 1;
    }
  }
  return marks;
}
