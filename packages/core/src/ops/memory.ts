import {
  add,
  gather,
  matMul,
  reshape,
  scatterND,
  tensorScatterUpdate,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './kernels.js';
import { shapesAreStatic } from './recording.js';

/** The rows from which a table's gradient was scattered. */
interface Rows {
  readonly indices: Tensor;
  readonly rows: Tensor;
}

const rowsOf = new WeakMap<Tensor, Rows>();

/**
 * Returns the rows of a table [rows, features] at the indices [n], as [n, features]. The gradient is a single scatter;
 * that of tfjs-core takes one pass per table row on some backends.
 */
export function gatherRows(table: Tensor2D, indices: Tensor1D): Tensor2D {
  const { shape } = table;
  return customGradient<Tensor2D>(
    [table],
    () => ({ value: gather(table, indices), saved: [indices] }),
    (gradient, saved) => {
      const rows = { indices: savedAt(saved, 0), rows: gradient };
      const made = scatterND(reshape(rows.indices, [indices.size, 1]), gradient, shape);
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
export function addGradients(a: Tensor, b: Tensor): Tensor {
  const source = rowsOf.get(b);
  const fused =
    source === undefined
      ? null
      : fusedKernel('WhetstoneAddRows', { x: a, indices: reshape(source.indices, [-1, 1]), rows: source.rows });
  return fused?.[0] ?? add(a, b);
}

/**
 * Returns `table` [n, features] with the rows at the distinct indices [k] replaced by `rows` [k, features]. The result
 * may use the memory of `table`, which the caller must not read afterwards. Not differentiable. Fused kernel:
 * `WhetstoneOverwriteRows {table, indices, rows}` → [result].
 */
export function overwriteRows(table: Tensor2D, indices: Tensor1D, rows: Tensor2D): Tensor2D {
  const fused = fusedKernel('WhetstoneOverwriteRows', { table, indices, rows });
  return (fused?.[0] ?? tensorScatterUpdate(table, reshape(indices, [-1, 1]), rows)) as Tensor2D;
}

/**
 * Returns sum + aᵀ · b, [m, k] of [m, k], [n, m] and [n, k]. Not differentiable.
 *
 * The fused kernel updates the sum in place if it has no other references, and needs little memory for the product. For
 * static shapes, the compiler does this. Fused kernel: `WhetstoneAddProduct {sum, a, b}` → [sum + aᵀ · b].
 */
export function addProduct(sum: Tensor2D, a: Tensor2D, b: Tensor2D): Tensor2D {
  const fused = shapesAreStatic() ? null : fusedKernel('WhetstoneAddProduct', { sum, a, b });
  return (fused?.[0] ?? add(sum, matMul(a, b, true, false))) as Tensor2D;
}

/**
 * Returns `x`, but not before `others` are computed. A recording backend runs all operations that are ready, so it may
 * start many similar computations before it finishes one; this function puts them in order. Not differentiable. Fused
 * kernel: `WhetstoneAfter {x, after}` → [x].
 */
export function after<T extends Tensor>(x: T, others: readonly Tensor[]): T {
  return others.reduce<T>(
    (value, other) => (fusedKernel('WhetstoneAfter', { x: value, after: other })?.[0] ?? value) as T,
    x,
  );
}
