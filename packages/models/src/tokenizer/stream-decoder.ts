import type { Tokenizer } from '@whetstone/core/contract';

export interface StreamDecoder {
  /** Takes the next id; returns the text that it completes, which may be empty. */
  push(id: number): string;
  /** The rest of the text, broken characters included. */
  finish(): string;
}

/** How many ids are decoded anew with each push: enough for decoders that look at a token's left neighbours. */
const CONTEXT = 8;

/**
 * Decodes ids as they come, giving out whole characters only: a token may hold a part of a character, whose rest comes with the next ones.
 * The parts joined are `tokenizer.decode` of all ids.
 */
export function createStreamDecoder(tokenizer: Pick<Tokenizer, 'decode'>, options: { readonly skipSpecialTokens?: boolean } = {}): StreamDecoder {
  let context: number[] = [];
  let pending: number[] = [];
  const fresh = (): string => tokenizer.decode([...context, ...pending], options).slice(tokenizer.decode(context, options).length);
  return {
    push(id) {
      pending.push(id);
      const text = fresh();
      // A character never takes more than four bytes: what is still broken after as many tokens will stay so.
      if (text === '' || (text.endsWith('\ufffd') && pending.length < 4)) return '';
      context = [...context, ...pending].slice(-CONTEXT);
      pending = [];
      return text;
    },
    finish() {
      const text = pending.length === 0 ? '' : fresh();
      context = [];
      pending = [];
      return text;
    },
  };
}
