import type { Tokenizer } from '@whetstone/core/contract';

/** The special tokens that a tokenizer adds around a text. */
export interface SpecialTokens {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** Returns the special tokens, found by encoding a letter with and without them. */
export function specialTokensAround(tokenizer: Tokenizer): SpecialTokens {
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
