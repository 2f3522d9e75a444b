import type { PhysicalType } from '../recorder/types.js';
import type { Attributes } from './attributes.js';

/** What lowers an operation to an engine's ops. `T` is a tensor in the making. */
export interface Emitter<T> {
  /** Adds one op and returns its first result. `after`: what must be there first, beside its inputs (kept in functions of TensorFlow's only). */
  op(name: string, inputs: readonly (T | readonly T[])[], attributes?: Attributes, after?: readonly T[]): T;
  /** Adds one op with several results. */
  ops(name: string, inputs: readonly (T | readonly T[])[], attributes: Attributes, results: number): T[];
  /** A constant of the structure: never a shape, never a host-written value. */
  constant(type: PhysicalType, shape: readonly number[], values: readonly number[]): T;
  typeOf(tensor: T): PhysicalType;
  /**
   * The same tensor, made no sooner than another one, and never taken for what was made of it elsewhere. Present where a compiler would otherwise keep what is
   * cheap to make again from the forward to the backward pass.
   */
  after?(tensor: T, other: T): T;
  /** Present where products of matrices are rounded: the emitter that rounds none. */
  readonly exact?: Emitter<T>;
}
