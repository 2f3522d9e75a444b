import * as tf from '@tensorflow/tfjs-core';
import type { Json } from '@whetstone/core/contract';
import type { DecoderShape } from './architectures/index.js';
import { embeddingName, HEAD_NAME } from './architectures/parameters.js';
import { isRecord } from '@whetstone/core/util';

/** What a model grows by: rows for the tokens from id `first` on. */
export interface VocabularyGrowth {
  readonly first: number;
  readonly count: number;
}

/** The shape with a row for every token. A vocabulary that was padded may have the rows already. */
export function grownShape(shape: DecoderShape, { first, count }: VocabularyGrowth): DecoderShape {
  return { ...shape, vocabularySize: Math.max(shape.vocabularySize, first + count) };
}

/** `vocab_size` in config.json, also where the text model has a part of its own. */
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
 * Gives embedding and head (where it is not the same matrix) the new rows, which start as the mean of all rows before
 * them: such a token is as likely as the average one, and no likelier (Hewitt, "Initializing new word embeddings",
 * 2021).
 */
export function growParameters(
  shape: DecoderShape,
  parameters: Map<string, tf.Variable>,
  growth: VocabularyGrowth,
): void {
  for (const name of [`${embeddingName(shape)}.weight`, `${HEAD_NAME}.weight`]) {
    const before = parameters.get(name);
    if (before === undefined) continue;
    const rows = tf.tidy(() => grownRows(before as tf.Tensor as tf.Tensor2D, growth));
    parameters.set(name, tf.variable(rows, false));
    rows.dispose();
    before.dispose();
  }
}

function grownRows(table: tf.Tensor2D, { first, count }: VocabularyGrowth): tf.Tensor2D {
  const [rows, features] = table.shape;
  const known = Math.min(first, rows);
  const before = tf.slice(table, [0, 0], [known, features]);
  const mean: tf.Tensor2D = tf.mean(before, 0, true);
  const behind = Math.max(0, rows - first - count);
  return tf.concat(
    [
      before,
      tf.tile(mean, [first + count - known, 1]),
      ...(behind > 0 ? [tf.slice(table, [first + count, 0], [behind, features])] : []),
    ],
    0,
  );
}
