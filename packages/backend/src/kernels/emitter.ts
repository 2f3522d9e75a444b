import type { PhysicalType } from '../recorder/types.js';
import type { Attributes } from './attributes.js';

/** What a loop computes of its inputs. */
export type LoopBody = <T>(emit: Emitter<T>, inputs: readonly T[]) => T;

/** What lowers an operation to an engine's ops. `T` is a tensor in the making. */
export interface Emitter<T> {
  /**
   * Adds one op and returns its first result. `after`: what must be there first, beside its inputs (kept in functions
   * of TensorFlow's only).
   */
  op(name: string, inputs: readonly (T | readonly T[])[], attributes?: Attributes, after?: readonly T[]): T;
  /** Adds one op with several results. */
  ops(name: string, inputs: readonly (T | readonly T[])[], attributes: Attributes, results: number): T[];
  /** A constant of the structure: never a shape, never a host-written value. */
  constant(type: PhysicalType, shape: readonly number[], values: readonly number[]): T;
  typeOf(tensor: T): PhysicalType;
  /**
   * The same tensor, made no sooner than another one, and never taken for what was made of it elsewhere. Present where
   * a compiler would otherwise keep what is cheap to make again from the forward to the backward pass.
   */
  after?(tensor: T, other: T): T;
  /**
   * What `compute` makes of the inputs in one loop that is compiled for it: numbers on the way are never written to
   * memory. Absent where nothing compiles loops. `name` stands for `compute`: equal names are equal loops. Its
   * operations must be exact, or each alone with its rounding: a compiler may round a product and a sum as one.
   */
  loop?(name: string, inputs: readonly T[], compute: LoopBody): T;
  /** Present where products of matrices are rounded: the emitter that rounds none. */
  readonly exact?: Emitter<T>;
}
