import type { Tokenizer } from '@whetstone/core/contract';

/** What the tokenizer's post-processor puts around a text. */
export interface SpecialTokens {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** Finds out by encoding a letter with and without special tokens. */
export function specialTokensAround(tokenizer: Tokenizer): SpecialTokens {
  const plain = tokenizer.encode('a', { addSpecialTokens: false });
  const whole = tokenizer.encode('a', { addSpecialTokens: true });
  const added = whole.length - plain.length;
  for (let before = 0; before <= added; before++) {
    if (plain.every((id, index) => whole[before + index] === id)) {
      return { before: whole.slice(0, before), after: whole.slice(before + plain.length) };
    }
  }
  return { before: [], after: [] };
}
