import * as tf from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';

/**
 * Rows of a table [rows, features] by index [n], as [n, features]. Its gradient adds each row's part up in one scatter,
 * where tfjs-core's own needs one pass a table row on some backends.
 */
export function gatherRows(table: tf.Tensor2D, indices: tf.Tensor1D): tf.Tensor2D {
  const { shape } = table;
  return customGradient<tf.Tensor2D>(
    [table],
    () => ({ value: tf.gather(table, indices), saved: [indices] }),
    (gradient, saved) => [tf.scatterND(tf.reshape(savedAt(saved, 0), [indices.size, 1]), gradient, shape)],
  );
}
