import type { Tokenizer } from '@whetstone/core/contract';

export interface StreamDecoder {
  /** Takes the next id; returns the text that it completes, which may be empty. */
  push(id: number): string;
  /** The rest of the text, broken characters included. */
  finish(): string;
}

/**
 * Groups of ids, each a whole number of characters, that are decoded anew with each push: decoders look at a token's
 * left neighbours.
 */
const CONTEXT = 2;

/** Ids after which text that is still broken is given out as it is: no character stays unfinished for so long. */
const PATIENCE = 64;

/**
 * Decodes ids as they come, giving out whole characters only: a token may hold a part of a character, whose rest comes
 * with the next ones. The parts joined are `tokenizer.decode` of all ids.
 */
export function createStreamDecoder(
  tokenizer: Pick<Tokenizer, 'decode'>,
  options: { readonly skipSpecialTokens?: boolean } = {},
): StreamDecoder {
  let groups: number[][] = [];
  let pending: number[] = [];
  /** UTF-16 units of the pending ids' text that were given out already. */
  let given = 0;
  const fresh = (): string => {
    const context = groups.flat();
    return tokenizer.decode([...context, ...pending], options).slice(tokenizer.decode(context, options).length);
  };
  const closeGroup = (): void => {
    groups = [...groups, pending].slice(-CONTEXT);
    pending = [];
    given = 0;
  };
  return {
    push(id) {
      pending.push(id);
      const text = fresh();
      const whole = pending.length < PATIENCE ? text.replace(/\ufffd+$/, '') : text;
      const news = whole.slice(given);
      given = Math.max(given, whole.length);
      if (whole !== '' && whole.length === text.length) closeGroup();
      return news;
    },
    finish() {
      const rest = fresh().slice(given);
      groups = [];
      pending = [];
      given = 0;
      return rest;
    },
  };
}
