import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { StorageDtype, TensorSpec, TypedArray } from '../recorder/types.js';
import type { Hlo, ModuleBuilder } from '../engines/xla/stablehlo/builder.js';
import type { Emitter } from './emitter.js';

/** How matrices are multiplied: `bfloat16` rounds both operands to bfloat16 and accumulates in float32. */
export type MatmulPolicy = 'float32' | 'bfloat16';

/** Attributes that belong to a graph's structure (axes, flags, permutations): a new value compiles a new graph. */
export type Parameters = readonly (number | string | boolean)[];

/**
 * A small tensor from the host that an operation needs: a target shape, the begin of a slice, a fill value. It is an
 * input of the graph, so a new value compiles nothing.
 */
export interface HostOperand {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  readonly values: TypedArray;
}

/** What the recorder needs to record one operation. */
export interface Recording {
  readonly outputs: readonly TensorSpec[];
  readonly parameters?: Parameters;
  readonly host?: readonly HostOperand[];
  /** Shapes to which inputs are reshaped first, such as flattened matrices. Null keeps an input's shape. */
  readonly inputShapes?: readonly (readonly number[] | null)[] | undefined;
  /** Shapes that tfjs-core gets for the results, if the op computes them under other shapes of the same size. */
  readonly outputShapes?: readonly (readonly number[])[];
}

/** Names of a tfjs kernel's inputs, or `list`. */
type InputNames = readonly string[] | 'list';

/** A kernel: its name in tfjs-core, its shape and dtype rule, and its lowerings. */
export interface Kernel {
  /** Name under which tfjs-core calls it. */
  readonly name: string;
  readonly inputs: InputNames;
  /** True if tfjs-core expects a list even of one result (SplitV, Unpack). */
  readonly returnsList?: boolean;
  /** True if the results are rows of the first input. Rows of a bfloat16 table are gathered before they are widened. */
  readonly gathersRows?: true;
  /** True for matrix products. Under the policy `bfloat16` they take bfloat16 operands without widening them. */
  readonly isMatrixProduct?: true;
  /** True if the first operand may have any shape of its size: the recorded operation reshapes it. */
  readonly acceptsAnyShape?: true;
  /**
   * False if TensorFlow's eager execution rounds differently from a function. Graphs with such a kernel are always
   * compiled, so that a resumed run repeats the same bits.
   */
  readonly eager?: false;
  /** For each result, the inputs that it replaces: an engine may reuse their memory if nothing else holds them. */
  readonly replaces?: readonly (readonly number[])[];
  /** True if TensorFlow's ops also write into the replaced input, if nothing else holds it. */
  readonly writesInPlace?: true;
  /** True for variables and sums over processes. Such an operation never becomes part of a repeated segment. */
  readonly hasSideEffects?: true;
  /** Returns what to record for inputs with these specs and tfjs-core's attributes. */
  rule(inputs: readonly TensorSpec[], attributes: Readonly<Record<string, unknown>>): Recording;
  /** Lowers to TensorFlow ops. `inputs` are the tensor inputs and `host` the host operands, both in order. */
  tensorflow<T>(emit: Emitter<T>, inputs: readonly T[], host: readonly T[], parameters: Parameters): T | readonly T[];
  /**
   * Lowers to StableHLO for the xla engine. Without it, the ops of `tensorflow` are lowered one by one
   * (`engines/xla/stablehlo`), which suits nearly every kernel.
   */
  readonly stablehlo?: (
    b: ModuleBuilder,
    inputs: readonly Hlo[],
    host: readonly Hlo[],
    parameters: Parameters,
  ) => Hlo | readonly Hlo[];
}

export type KernelInputs = Readonly<Record<string, TensorInfo | undefined>>;

/** Returns an int32 vector as a host operand: a shape, begins, sizes or paddings. */
export function vector(values: readonly number[], shape: readonly number[] = [values.length]): HostOperand {
  return { type: 'int32', shape, values: Int32Array.from(values) };
}

/** Returns one number as a host operand. */
export function scalar(value: number, type: StorageDtype): HostOperand {
  return {
    type,
    shape: [],
    values:
      type === 'float32' ? Float32Array.of(value) : type === 'int32' ? Int32Array.of(value) : Uint8Array.of(value),
  };
}
