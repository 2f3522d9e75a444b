import type { Kernel, Parameters } from '../kernels/kernel.js';
import type { MatmulPolicy } from '../kernels/matmul-policy.js';
import type { PhysicalType } from './types.js';

/**
 * One operation of a program. Tensors are numbered: the program's inputs first, then the results of each step in order.
 */
export interface Step {
  readonly kernel: Kernel;
  /** What of the operation's attributes is part of the structure. */
  readonly parameters: Parameters;
  /** Tensors, then host operands. */
  readonly inputs: readonly number[];
  /** How many of `inputs` are tensors. */
  readonly tensorInputs: number;
  /** Number of the first result. */
  readonly firstOutput: number;
  readonly outputs: number;
  /** What has to be there before it begins, beside its inputs. */
  readonly after?: readonly number[];
}

/**
 * A recorded graph without its values: what an engine compiles. It knows no shapes; whatever is like a shape is an
 * input.
 */
export interface Program {
  /** Name for errors and profiles. */
  readonly name: string;
  /** How products of matrices are computed. */
  readonly matmul: MatmulPolicy;
  /**
   * Whether it consists of parts that do not depend on one another: an engine computes them beside each other, each
   * operation on a share of the threads.
   */
  readonly sideBySide?: boolean;
  readonly inputTypes: readonly PhysicalType[];
  readonly steps: readonly Step[];
  /** For each step, which operation of the recording it stands for; absent where all are there. */
  readonly positions?: readonly number[];
  /** Dtype of every numbered tensor. */
  readonly types: readonly PhysicalType[];
  /** Numbers of the tensors that leave the program. */
  readonly outputs: readonly number[];
}

/** For each tensor of a program the step that makes it; -1 for inputs. */
export function producersOf({ steps, types }: Program): Int32Array {
  const producers = new Int32Array(types.length).fill(-1);
  steps.forEach(({ firstOutput, outputs }, position) => producers.fill(position, firstOutput, firstOutput + outputs));
  return producers;
}
