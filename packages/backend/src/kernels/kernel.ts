import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { PhysicalType, Spec, TypedArray } from '../recorder/types.js';
import type { Hlo, ModuleBuilder } from '../engines/xla/stablehlo/builder.js';
import type { Emitter } from './emitter.js';

/**
 * Attributes that are part of a graph's structure (axes, flags, permutations): another value means another compiled
 * graph.
 */
export type Parameters = readonly (number | string | boolean)[];

/**
 * A small host tensor that an operation needs: a target shape, a slice's begin, a fill value. Fed as an input: another
 * value recompiles nothing.
 */
export interface HostOperand {
  readonly type: PhysicalType;
  readonly shape: readonly number[];
  readonly values: TypedArray;
}

/** What recording an operation comes to. */
export interface Recording {
  readonly outputs: readonly Spec[];
  readonly parameters?: Parameters;
  readonly host?: readonly HostOperand[];
  /** Target shapes of inputs that must be seen under another shape first (flattened matmuls). */
  readonly inputShapes?: readonly (readonly number[] | null)[] | undefined;
  /** Shapes of the results as tfjs sees them, where the op makes them under another shape of the same size. */
  readonly shapes?: readonly (readonly number[])[];
}

/** Named inputs of tfjs kernels, or a list. */
type InputNames = readonly string[] | 'list';

/**
 * A kernel is one record in one place: its tfjs name, its shape and dtype rule, and its lowerings.
 */
export interface Kernel {
  /** Name under which tfjs-core calls it. */
  readonly name: string;
  readonly inputs: InputNames;
  /** True where tfjs expects a list even of one result (SplitV, Unpack). */
  readonly list?: boolean;
  /** True where the results are rows of the first input: they are taken from a table in bfloat16 as they are. */
  readonly gathersRows?: true;
  /**
   * True where the operands are multiplied as matrices: under the policy bfloat16 they are taken in bfloat16 as they
   * are.
   */
  readonly multiplies?: true;
  /** True where the first operand may come in any shape of its size: what is recorded gives it its shape. */
  readonly takesAnyShape?: true;
  /**
   * False where TensorFlow computes other last bits op by op than in a function: its graphs are always compiled, so
   * that a resumed run repeats itself exactly.
   */
  readonly eager?: false;
  /**
   * For each result the inputs whose new version it is: an engine may compute it in their memory where nobody holds
   * them any more.
   */
  readonly replaces?: readonly (readonly number[])[];
  /** True where TensorFlow's ops, too, write in the memory of what they replace, if nobody else holds it. */
  readonly writesInPlace?: true;
  /**
   * True where it does more than give results (variables, sums with other processes): it is never part of what is
   * called several times.
   */
  readonly hasEffects?: true;
  /** Shape and dtype rule: from the inputs' specs and tfjs's attributes to what is recorded. */
  rule(inputs: readonly Spec[], attributes: Readonly<Record<string, unknown>>): Recording;
  /** TensorFlow ops; `inputs` are the tensor inputs, `host` the host operands, in order. */
  tensorflow<T>(emit: Emitter<T>, inputs: readonly T[], host: readonly T[], parameters: Parameters): T | readonly T[];
  /**
   * StableHLO, for the xla engine: where it is left out, the ops of `tensorflow` are lowered one by one
   * (`engines/xla/stablehlo`), which suits nearly every kernel. Write one where shapes that are known allow something
   * better.
   */
  readonly stablehlo?: (
    b: ModuleBuilder,
    inputs: readonly Hlo[],
    host: readonly Hlo[],
    parameters: Parameters,
  ) => Hlo | readonly Hlo[];
}

export type KernelInputs = Readonly<Record<string, TensorInfo | undefined>>;

/** A vector of int32 as a host operand: shapes, begins, sizes, paddings. */
export function vector(values: readonly number[], shape: readonly number[] = [values.length]): HostOperand {
  return { type: 'int32', shape, values: Int32Array.from(values) };
}

/** One number as a host operand. */
export function scalar(value: number, type: PhysicalType): HostOperand {
  return {
    type,
    shape: [],
    values:
      type === 'float32' ? Float32Array.of(value) : type === 'int32' ? Int32Array.of(value) : Uint8Array.of(value),
  };
}
