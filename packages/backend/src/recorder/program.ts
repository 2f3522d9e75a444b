import type { Kernel, MatmulPolicy, Parameters } from '../kernels/kernel.js';
import type { StorageDtype } from './types.js';

/** One operation of a program. Tensors are numbered: the program's inputs, then the results of each step in order. */
export interface Step {
  readonly kernel: Kernel;
  /** The operation's attributes that are part of the structure. */
  readonly parameters: Parameters;
  /** Tensors, then host operands. */
  readonly inputs: readonly number[];
  /** How many of `inputs` are tensors. */
  readonly tensorInputs: number;
  /** Number of the first result. */
  readonly firstOutput: number;
  readonly outputs: number;
  /** Tensors that must exist before the step runs, in addition to its inputs. */
  readonly controlInputs?: readonly number[];
}

/** A recorded graph without its values, as an engine compiles it. Shapes are inputs, not part of the program. */
export interface Program {
  /** Name for errors and profiles. */
  readonly name: string;
  readonly matmul: MatmulPolicy;
  /** Whether it consists of independent computations that may run concurrently, each on a share of the threads. */
  readonly concurrent?: boolean;
  readonly inputTypes: readonly StorageDtype[];
  readonly steps: readonly Step[];
  /** For each step, the position of its operation in the recording. Absent if the positions are equal. */
  readonly positions?: readonly number[];
  /** Dtype of every numbered tensor. */
  readonly types: readonly StorageDtype[];
  /** Numbers of the tensors that the program returns. */
  readonly outputs: readonly number[];
}

/** Returns, for each tensor of a program, the step that computes it; −1 for inputs. */
export function producersOf({ steps, types }: Program): Int32Array {
  const producers = new Int32Array(types.length).fill(-1);
  steps.forEach(({ firstOutput, outputs }, position) => producers.fill(position, firstOutput, firstOutput + outputs));
  return producers;
}
