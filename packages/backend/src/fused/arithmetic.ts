import type { Emitter } from '../kernels/emitter.js';

/** float32 arithmetic on tensors in the making, so that formulae read as such. */
export interface Arithmetic<T> {
  number(value: number): T;
  add(a: T, b: T): T;
  subtract(a: T, b: T): T;
  multiply(a: T, b: T): T;
  square(x: T): T;
}

export function arithmetic<T>(emit: Emitter<T>): Arithmetic<T> {
  return {
    number: (value) => emit.constant('float32', [], [value]),
    add: (a, b) => emit.op('AddV2', [a, b]),
    subtract: (a, b) => emit.op('Sub', [a, b]),
    multiply: (a, b) => emit.op('Mul', [a, b]),
    square: (x) => emit.op('Square', [x]),
  };
}
