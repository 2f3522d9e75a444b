import {
  concat,
  mean,
  slice,
  tidy,
  tile,
  variable,
  type Tensor,
  type Tensor2D,
  type Variable,
} from '@tensorflow/tfjs-core';
import type { Json } from '@whetstone/core/contract';
import type { DecoderShape } from './architectures/index.js';
import { embeddingName, HEAD_NAME } from './architectures/parameters.js';
import { isRecord } from '@whetstone/core/util';

/** The tokens to add to a vocabulary: `count` ids, starting at `first`. */
export interface VocabularyGrowth {
  readonly first: number;
  readonly count: number;
}

/** Returns the shape with a row for every token. A padded vocabulary may already have enough rows. */
export function grownShape(shape: DecoderShape, { first, count }: VocabularyGrowth): DecoderShape {
  return { ...shape, vocabularySize: Math.max(shape.vocabularySize, first + count) };
}

/** Returns config.json with the new `vocab_size`, which multimodal models nest in `text_config`. */
export function grownConfig(
  config: Readonly<Record<string, Json>>,
  vocabularySize: number,
): Readonly<Record<string, Json>> {
  const { text_config: text } = config;
  const isNested = !('vocab_size' in config) && isRecord(text);
  return isNested
    ? { ...config, text_config: { ...(text as Readonly<Record<string, Json>>), vocab_size: vocabularySize } }
    : { ...config, vocab_size: vocabularySize };
}

/**
 * Adds rows to the embedding and, if it is not tied, to the head. Each new row is the mean of all earlier rows, so that
 * a new token is about as likely as the average token (Hewitt, "Initializing new word embeddings", 2021).
 */
export function growParameters(shape: DecoderShape, parameters: Map<string, Variable>, growth: VocabularyGrowth): void {
  for (const name of [`${embeddingName(shape)}.weight`, `${HEAD_NAME}.weight`]) {
    const before = parameters.get(name);
    if (before === undefined) continue;
    const rows = tidy(() => grownRows(before as Tensor as Tensor2D, growth));
    parameters.set(name, variable(rows, false));
    rows.dispose();
    before.dispose();
  }
}

/** Returns the table [rows, features] with new rows from `first` on; rows of a padded vocabulary are overwritten. */
function grownRows(table: Tensor2D, { first, count }: VocabularyGrowth): Tensor2D {
  const [rows, features] = table.shape;
  const known = Math.min(first, rows);
  const before = slice(table, [0, 0], [known, features]);
  const meanRow: Tensor2D = mean(before, 0, true);
  const after = Math.max(0, rows - first - count);
  return concat(
    [
      before,
      tile(meanRow, [first + count - known, 1]),
      ...(after > 0 ? [slice(table, [first + count, 0], [after, features])] : []),
    ],
    0,
  );
}
