import * as tf from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/** What a table's gradient was made of. */
interface Rows {
  readonly indices: tf.Tensor;
  readonly rows: tf.Tensor;
}

const rowsOf = new WeakMap<tf.Tensor, Rows>();

/**
 * Rows of a table [rows, features] by index [n], as [n, features]. Its gradient adds each row's part up in one scatter,
 * where tfjs-core's own needs one pass a table row on some backends.
 */
export function gatherRows(table: tf.Tensor2D, indices: tf.Tensor1D): tf.Tensor2D {
  const { shape } = table;
  return customGradient<tf.Tensor2D>(
    [table],
    () => ({ value: tf.gather(table, indices), saved: [indices] }),
    (gradient, saved) => {
      const rows = { indices: savedAt(saved, 0), rows: gradient };
      const made = tf.scatterND(tf.reshape(rows.indices, [indices.size, 1]), gradient, shape);
      rowsOf.set(made, rows);
      return [made];
    },
  );
}

/**
 * The sum of two gradients of one tensor. Where the second has just come out of {@link gatherRows} (a table of
 * embeddings that is the head, too), its rows are added to the first, in its place if nobody else holds it, and the
 * table full of zeros is never made by a backend that records. Fused kernel: `WhetstoneAddRows {x, indices [n, 1], rows
 * [n, features]}` → [x].
 */
export function addGradients(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  const made = rowsOf.get(b);
  const fused =
    made === undefined
      ? null
      : fusedKernel('WhetstoneAddRows', { x: a, indices: tf.reshape(made.indices, [-1, 1]), rows: made.rows });
  return fused?.[0] ?? tf.add(a, b);
}
