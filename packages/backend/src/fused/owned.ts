import type { Emitter } from '../kernels/emitter.js';

/**
 * A matrix that nobody else holds, to be written in place: the one that was given where its giver lets go of it, else a
 * copy. TensorFlow's operations that write rows in place do not ask who holds them; this one asks, and adds nothing.
 *
 * @param after what has to be there before: readers of the matrix, and what tells this use of it from another one, or
 *   TensorFlow would take both for the same
 */
export function owned<T>(emit: Emitter<T>, matrix: T, after: readonly T[]): T {
  return emit.op(
    'ScatterNdNonAliasingAdd',
    [matrix, emit.constant('int32', [0, 2], []), emit.constant('float32', [0], [])],
    {},
    after,
  );
}
