import { flag, type Emitter } from '../kernels/emitter.js';
import { vector, type Kernel } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';

// Kernels that save memory: they update a tensor in place, or delay an operation until its result is needed.

/**
 * Returns a matrix that may be written in place: `matrix` if nothing else holds it, otherwise a copy. TensorFlow's
 * in-place operations do not check whether their operand is shared. This no-op addition does.
 *
 * @param controlInputs earlier readers of the matrix, and a tensor that differs between two uses: TensorFlow merges
 *   equal operations
 */
export function uniquelyOwned<T>(emit: Emitter<T>, matrix: T, controlInputs: readonly T[]): T {
  return emit.op(
    'ScatterNdNonAliasingAdd',
    [matrix, emit.constant('int32', [0, 2], []), emit.constant('float32', [0], [])],
    {},
    controlInputs,
  );
}

/** Target size of a row block in elements. The product of one block exists in addition to the sum. */
const BLOCK_ELEMENTS = 2 ** 21;
const MAX_BLOCKS = 32;

/** Returns the number of equal row blocks: the fewest whose size is at most the target, else the most allowed. */
function blockCount(rows: number, columns: number): number {
  const minimum = (rows * columns) / BLOCK_ELEMENTS;
  const counts = Array.from({ length: MAX_BLOCKS }, (_, index) => index + 1).filter((count) => rows % count === 0);
  return counts.find((count) => count >= minimum) ?? counts.at(-1) ?? 1;
}

const product = <T>(emit: Emitter<T>, a: T, b: T): T =>
  emit.op('MatMul', [a, b], { transpose_a: flag(true), transpose_b: flag(false) });

function addInPlace<T>(emit: Emitter<T>, sum: T, a: T, b: T, [shape, stacked, one, width, ...begins]: readonly T[]): T {
  let written: T | null = null;
  for (const [index, begin] of begins.entries()) {
    // The control input keeps the blocks in sequence.
    const more = product(emit, emit.op('Slice', [a, begin, width!], {}, written === null ? [] : [written]), b);
    // A block is one row of the reshaped sum, so that all threads add it.
    const blocks: T = written ?? emit.op('Reshape', [uniquelyOwned(emit, sum, [more]), stacked!]);
    written = emit.op('InplaceAdd', [blocks, emit.constant('int32', [1], [index]), emit.op('Reshape', [more, one!])]);
  }
  return emit.op('Reshape', [written ?? sum, shape!]);
}

/**
 * `sum + aᵀ · b` in the memory of the sum, block of rows by block of rows: `addProduct` of `@whetstone/core/ops`.
 * Shapes: sum [n, m], a [tokens, n], b [tokens, m].
 */
const addProduct: Kernel = {
  name: 'WhetstoneAddProduct',
  inputs: ['sum', 'a', 'b'],
  returnsList: true,
  eager: false,
  replaces: [[0]],
  rule: ([sum, a]) => {
    const { shape } = sum as TensorSpec;
    const [rows = 0, columns = 0] = shape;
    const count = blockCount(rows, columns);
    const size = rows / count;
    const begins = Array.from({ length: count }, (_, index) => vector([0, index * size]));
    return {
      outputs: [{ shape, dtype: 'float32' }],
      host:
        count === 1
          ? []
          : [
              vector(shape),
              vector([count, -1]),
              vector([1, -1]),
              vector([(a as TensorSpec).shape[0] ?? 0, size]),
              ...begins,
            ],
    };
  },
  tensorflow: (emit, [sum, a, b], host) => [
    host.length === 0 ? emit.op('AddV2', [sum!, product(emit, a!, b!)]) : addInPlace(emit, sum!, a!, b!, host),
  ],
};

/**
 * Adds rows to those of a table, several times if an index repeats: `addGradients` of `@whetstone/core/ops`. Shapes: x
 * [n, width], indices [k, 1], rows [k, width].
 */
const addRows: Kernel = {
  name: 'WhetstoneAddRows',
  inputs: ['x', 'indices', 'rows'],
  returnsList: true,
  replaces: [[0]],
  rule: ([x]) => ({ outputs: [x as TensorSpec] }),
  // TensorScatterAdd would copy the table even if nothing else holds it.
  tensorflow: (emit, [x, indices, rows]) => [emit.op('ScatterNdNonAliasingAdd', [x!, indices!, rows!])],
};

/**
 * Overwrites rows of a table: `overwriteRows` of `@whetstone/core/ops`. Shapes: table [n, width], indices [k], rows [k,
 * width]. TensorFlow writes into the table even if something else holds it; the caller has agreed to that.
 */
const overwriteRows: Kernel = {
  name: 'WhetstoneOverwriteRows',
  inputs: ['table', 'indices', 'rows'],
  returnsList: true,
  replaces: [[0]],
  rule: ([table]) => ({ outputs: [table as TensorSpec] }),
  tensorflow: (emit, [table, indices, rows]) => [emit.op('InplaceUpdate', [table!, indices!, rows!])],
};

/** Returns the first operand, no earlier than the second exists: `after` of `@whetstone/core/ops`. */
const after: Kernel = {
  name: 'WhetstoneAfter',
  inputs: ['x', 'after'],
  returnsList: true,
  rule: ([x]) => ({ outputs: [x as TensorSpec] }),
  tensorflow: (emit, [x, other]) => [emit.op('Identity', [x!], {}, [other!])],
};

export const memoryKernels: readonly Kernel[] = [addProduct, addRows, overwriteRows, after];
