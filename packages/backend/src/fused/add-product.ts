import { flag } from '../kernels/attributes.js';
import type { Emitter } from '../kernels/emitter.js';
import { vector, type Kernel } from '../kernels/kernel.js';
import type { Spec } from '../recorder/types.js';
import { owned } from './owned.js';

/** Numbers of a stretch of the sum, about: its product lies beside the sum while it is added. */
const ADDED_AT_ONCE = 2 ** 21;
const MOST_STRETCHES = 32;

/**
 * Into how many stretches of as many rows a sum is cut: as few as are no larger than they should be, or as many as
 * there may be.
 */
function stretchesOf(rows: number, columns: number): number {
  const wanted = (rows * columns) / ADDED_AT_ONCE;
  const counts = Array.from({ length: MOST_STRETCHES }, (_, index) => index + 1).filter((count) => rows % count === 0);
  return counts.find((count) => count >= wanted) ?? counts.at(-1) ?? 1;
}

const product = <T>(emit: Emitter<T>, a: T, b: T): T =>
  emit.op('MatMul', [a, b], { transpose_a: flag(true), transpose_b: flag(false) });

function addInPlace<T>(emit: Emitter<T>, sum: T, a: T, b: T, [shape, stacked, one, width, ...begins]: readonly T[]): T {
  let written: T | null = null;
  for (const [index, begin] of begins.entries()) {
    // One stretch after the other.
    const more = product(emit, emit.op('Slice', [a, begin, width!], {}, written === null ? [] : [written]), b);
    // A stretch as one row: all threads add it.
    const stretches: T = written ?? emit.op('Reshape', [owned(emit, sum, [more]), stacked!]);
    written = emit.op('InplaceAdd', [
      stretches,
      emit.constant('int32', [1], [index]),
      emit.op('Reshape', [more, one!]),
    ]);
  }
  return emit.op('Reshape', [written ?? sum, shape!]);
}

/** sum + aᵀ · b in the memory of the sum, stretch of rows by stretch: `addProduct` of `@whetstone/core/ops`. */
export const addProduct: Kernel = {
  name: 'WhetstoneAddProduct',
  inputs: ['sum', 'a', 'b'],
  list: true,
  eager: false,
  replaces: [[0]],
  rule: ([sum, a]) => {
    const { shape } = sum as Spec;
    const [rows = 0, columns = 0] = shape;
    const count = stretchesOf(rows, columns);
    const size = rows / count;
    const begins = Array.from({ length: count }, (_, index) => vector([0, index * size]));
    return {
      outputs: [{ shape, dtype: 'float32' }],
      host:
        count === 1
          ? []
          : [vector(shape), vector([count, -1]), vector([1, -1]), vector([(a as Spec).shape[0] ?? 0, size]), ...begins],
    };
  },
  tensorflow: (emit, [sum, a, b], host) => [
    host.length === 0 ? emit.op('AddV2', [sum!, product(emit, a!, b!)]) : addInPlace(emit, sum!, a!, b!, host),
  ],
};
