import * as tf from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/** The rows from which a table's gradient was scattered. */
interface Rows {
  readonly indices: tf.Tensor;
  readonly rows: tf.Tensor;
}

const rowsOf = new WeakMap<tf.Tensor, Rows>();

/**
 * Returns the rows of a table [rows, features] at the indices [n], as [n, features]. The gradient is a single scatter;
 * that of tfjs-core takes one pass per table row on some backends.
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
 * Returns the sum of two gradients of one tensor.
 *
 * If the second is a gradient of {@link gatherRows} (embeddings that are tied to the head), its rows are added to the
 * first, in place if that has no other references. A recording backend then never creates the scattered table. Fused
 * kernel: `WhetstoneAddRows {x, indices [n, 1], rows [n, features]}` → [x].
 */
export function addGradients(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  const source = rowsOf.get(b);
  const fused =
    source === undefined
      ? null
      : fusedKernel('WhetstoneAddRows', { x: a, indices: tf.reshape(source.indices, [-1, 1]), rows: source.rows });
  return fused?.[0] ?? tf.add(a, b);
}
