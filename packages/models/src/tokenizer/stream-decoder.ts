import type { Tokenizer } from '@whetstone/core/contract';

export interface StreamDecoder {
  /** Adds the next id. Returns the text that it completes, which may be empty. */
  push(id: number): string;
  /** Returns the rest of the text, including incomplete characters. */
  finish(): string;
}

/** Number of preceding groups of ids that are decoded again with each push, because decoders look at earlier tokens. */
const CONTEXT_GROUPS = 2;

/** Maximum number of ids to hold back for an incomplete character; no valid character needs as many. */
const MAX_PENDING_IDS = 64;

/**
 * Creates a decoder of a stream of ids. It returns only complete characters, because one character can span several
 * tokens. The concatenated results equal `tokenizer.decode` of all ids.
 */
export function createStreamDecoder(
  tokenizer: Pick<Tokenizer, 'decode'>,
  options: { readonly skipSpecialTokens?: boolean } = {},
): StreamDecoder {
  /** Preceding ids in groups, each of which is a sequence of complete characters. */
  let groups: number[][] = [];
  let pending: number[] = [];
  /** Number of UTF-16 units of the pending ids that were already returned. */
  let returned = 0;
  const decodePending = (): string => {
    const context = groups.flat();
    return tokenizer.decode([...context, ...pending], options).slice(tokenizer.decode(context, options).length);
  };
  const closeGroup = (): void => {
    groups = [...groups, pending].slice(-CONTEXT_GROUPS);
    pending = [];
    returned = 0;
  };
  return {
    push(id) {
      pending.push(id);
      const text = decodePending();
      const complete = pending.length < MAX_PENDING_IDS ? withoutPartial(text) : text;
      const addition = complete.slice(returned);
      returned = Math.max(returned, complete.length);
      if (complete !== '' && complete.length === text.length) closeGroup();
      return addition;
    },
    finish() {
      const rest = decodePending().slice(returned);
      groups = [];
      pending = [];
      returned = 0;
      return rest;
    },
  };
}

/** Returns a text without the replacement characters at its end, which may be the start of a character. */
function withoutPartial(text: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === '\ufffd') end--;
  return text.slice(0, end);
}
