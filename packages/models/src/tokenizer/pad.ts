import { WhetstoneError } from '@whetstone/core/contract';
import type { FolderTokenizer } from './tokenizer.js';

export interface PaddedTexts {
  /** One row per text, all of the same length. */
  readonly ids: readonly (readonly number[])[];
  /** 1 at tokens, 0 at padding. */
  readonly attentionMask: readonly (readonly number[])[];
}

export interface PadOptions {
  /**
   * Length of every row; longer texts are truncated, special tokens are kept. Default: the length of the longest row.
   */
  readonly maxLength?: number;
  readonly side?: 'left' | 'right';
}

/**
 * Encodes texts, with special tokens, into rows of equal length.
 *
 * @throws `TOKENIZER_INVALID` if the tokenizer has no padding token
 * @public
 */
export function encodePadded(
  tokenizer: FolderTokenizer,
  texts: readonly string[],
  { maxLength, side = 'right' }: PadOptions = {},
): PaddedTexts {
  const { padTokenId } = tokenizer;
  if (padTokenId === null)
    throw new WhetstoneError('TOKENIZER_INVALID', 'The tokenizer has no padding token.', {
      expected: 'pad_token in tokenizer_config.json',
    });
  const special = tokenizer.withSpecialTokens([]).length;
  const rows = texts.map((text) =>
    tokenizer.withSpecialTokens(
      tokenizer.encode(text).slice(0, maxLength === undefined ? undefined : Math.max(0, maxLength - special)),
    ),
  );
  const length = maxLength ?? Math.max(0, ...rows.map((row) => row.length));
  const pad = <T>(row: readonly T[], filler: T): T[] => {
    const filling = Array.from({ length: Math.max(0, length - row.length) }, () => filler);
    return side === 'left' ? [...filling, ...row] : [...row, ...filling];
  };
  return {
    ids: rows.map((row) => pad(row, padTokenId)),
    attentionMask: rows.map((row) =>
      pad(
        row.map(() => 1),
        0,
      ),
    ),
  };
}
