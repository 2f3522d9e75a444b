import type { Emitter } from './emitter.js';

/**
 * An emitter whose ops wait for `after`. What is computed anew on the way back would otherwise run as soon as its
 * operands are there, on the way there, or be found equal to what was computed before: either way it would be kept in
 * between.
 */
export function waitingFor<T>(emit: Emitter<T>, after: readonly T[]): Emitter<T> {
  return {
    op: (name, inputs, attributes, own = []) => emit.op(name, inputs, attributes, [...own, ...after]),
    ops: (name, inputs, attributes, results) => emit.ops(name, inputs, attributes, results),
    constant: (type, shape, values) => emit.constant(type, shape, values),
    typeOf: (tensor) => emit.typeOf(tensor),
    ...(emit.exact === undefined ? {} : { exact: waitingFor(emit.exact, after) }),
  };
}
