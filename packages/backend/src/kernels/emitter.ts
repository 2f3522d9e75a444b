import type { StorageDtype } from '../recorder/types.js';

/** An attribute of an engine's op, tagged with its kind: TensorFlow's C API has one setter per kind. */
export type Attribute =
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'type'; readonly value: StorageDtype }
  /** A shape of unknown rank. */
  | { readonly kind: 'any-shape' };

export type Attributes = Readonly<Record<string, Attribute>>;

export const flag = (value: boolean): Attribute => ({ kind: 'bool', value });
export const int = (value: number): Attribute => ({ kind: 'int', value });
export const float = (value: number): Attribute => ({ kind: 'float', value });
export const text = (value: string): Attribute => ({ kind: 'string', value });
export const type = (value: StorageDtype): Attribute => ({ kind: 'type', value });
export const anyShape: Attribute = { kind: 'any-shape' };

/** Computes one tensor from the inputs of a compiled loop. */
export type LoopBody = <T>(emit: Emitter<T>, inputs: readonly T[]) => T;

/** Lowers operations to an engine's ops. `T` is the engine's handle of a tensor in the graph being built. */
export interface Emitter<T> {
  /**
   * Adds an op and returns its first result.
   *
   * @param controlInputs tensors that must exist before the op runs, in addition to its inputs. Only TensorFlow
   *   functions keep them.
   */
  op(name: string, inputs: readonly (T | readonly T[])[], attributes?: Attributes, controlInputs?: readonly T[]): T;
  /** Adds an op with several results. */
  ops(name: string, inputs: readonly (T | readonly T[])[], attributes: Attributes, results: number): T[];
  /** Adds a constant that is part of the graph's structure: never a shape, never a value from the host. */
  constant(type: StorageDtype, shape: readonly number[], values: readonly number[]): T;
  typeOf(tensor: T): StorageDtype;
  /**
   * Returns `tensor`, computed no earlier than `other` and never merged with an equal operation. Present if the
   * engine's compiler would otherwise keep cheap results from the forward to the backward pass.
   */
  after?(tensor: T, other: T): T;
  /**
   * Computes one tensor in a compiled loop that writes no intermediate values to memory. Absent if the engine does not
   * compile loops.
   *
   * @param name identifies `compute`: equal names must mean equal loops
   * @param compute uses operations that are exact, or rounds each by itself: a compiler may fuse a product and a sum
   */
  loop?(name: string, inputs: readonly T[], compute: LoopBody): T;
  /** The emitter without rounding. Present if this one rounds operands of matrix products. */
  readonly exact?: Emitter<T>;
}

/**
 * Returns an emitter whose ops wait for control inputs. Recomputation in the backward pass needs them: TensorFlow would
 * run it as soon as its operands exist, or merge it with the forward pass, and keep the result.
 */
export function withControlInputs<T>(emit: Emitter<T>, controlInputs: readonly T[]): Emitter<T> {
  return {
    op: (name, inputs, attributes, own = []) => emit.op(name, inputs, attributes, [...own, ...controlInputs]),
    ops: (name, inputs, attributes, results) => emit.ops(name, inputs, attributes, results),
    constant: (type, shape, values) => emit.constant(type, shape, values),
    typeOf: (tensor) => emit.typeOf(tensor),
    exact: emit.exact === undefined ? undefined : withControlInputs(emit.exact, controlInputs),
  };
}

/** float32 arithmetic, so that kernels read like their formulas. */
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
