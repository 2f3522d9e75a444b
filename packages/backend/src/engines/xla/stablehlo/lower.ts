import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import type { Program } from '../../../recorder/program.js';
import type { StorageDtype } from '../../../recorder/types.js';
import type { Describe } from '../../engine.js';
import { ModuleBuilder, type Hlo, type OpLowering } from './builder.js';
import { donationsOf } from './donations.js';
import { elementwiseLowerings } from './elementwise.js';
import { indexingLowerings } from './indexing.js';
import { matrixLowerings } from './matrix.js';
import { movementLowerings } from './movement.js';
import { randomLowerings } from './random.js';
import { reductionLowerings } from './reductions.js';
import { emitKernel } from '../../../kernels/matmul-policy.js';
import { messageOf } from '@whetstone/core/util';

/** Lowerings to StableHLO of the TensorFlow ops in the kernels' records. */
export const opLowerings: Readonly<Record<string, OpLowering>> = {
  ...elementwiseLowerings,
  ...reductionLowerings,
  ...matrixLowerings,
  ...movementLowerings,
  ...indexingLowerings,
  ...randomLowerings,
};

/** A program's input or output as it is known during lowering. */
export interface KnownInput {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  /** The values, if the host has them; otherwise null. */
  readonly values: ArrayLike<number> | null;
}

/** A StableHLO module: a program for certain shapes. */
export interface LoweredModule {
  readonly text: string;
  /** The program's inputs that are arguments of the module, in order. */
  readonly arguments: readonly number[];
  /** Inputs whose values are part of the module. */
  readonly fixed: readonly number[];
  /** Estimate of the module's work: see `ModuleBuilder.work`. */
  readonly work: number;
  /** Outputs, with their values if these do not depend on the inputs. */
  readonly outputs: readonly KnownInput[];
  /** Inputs whose memory a result reuses, unless a run forbids it. */
  readonly donated: ReadonlySet<number>;
  /** Replicas that run at once, each on its own device. */
  readonly replicas: number;
  /** Arguments that differ between replicas, with the input of each replica. */
  readonly shards: ReadonlyMap<number, readonly number[]>;
  /** Returns the step whose lowering wrote a line of the text, or null. Lines count from 1. */
  stepOfLine(line: number): number | null;
}

export interface LowerOptions {
  /** Inputs that are not needed after the run. */
  readonly spent?: ReadonlySet<number>;
  /** Number of devices of a sum of one tensor per device. */
  readonly replicas?: number;
  /** Whether the module is for a CPU rather than for an accelerator. */
  readonly onProcessor?: boolean;
}

/**
 * Lowers a program to a StableHLO module for inputs of these shapes.
 *
 * @throws `BACKEND_FAILED` with the operation that cannot be lowered
 */
export function lower(
  program: Program,
  inputs: readonly KnownInput[],
  describe: Describe,
  { spent = new Set(), replicas = 1, onProcessor = false }: LowerOptions = {},
): LoweredModule {
  const builder = new ModuleBuilder(opLowerings, replicas, onProcessor);
  const tensors: Hlo[] = inputs.map(({ type, shape, values }, input) => ({ type, shape, name: null, input, values }));
  program.steps.forEach((step, position) => {
    builder.step = position;
    const operands = step.inputs.map((number) => tensors[number] as Hlo);
    try {
      const lowering = step.kernel.stablehlo;
      const lowered =
        lowering === undefined
          ? emitKernel<Hlo>(builder, program, step, operands)
          : lowering(builder, operands.slice(0, step.tensorInputs), operands.slice(step.tensorInputs), step.parameters);
      const results = Array.isArray(lowered) ? (lowered as readonly Hlo[]) : [lowered as Hlo];
      results.forEach((result, offset) => {
        const number = step.firstOutput + offset;
        tensors[number] = builder.convert(result, program.types[number] ?? result.type);
      });
    } catch (error) {
      if (isWhetstoneError(error) && error.code !== 'BACKEND_FAILED') throw error;
      throw new WhetstoneError(
        'BACKEND_FAILED',
        `${describe(position)} cannot be lowered to StableHLO: ${messageOf(error)}`,
        { cause: error, details: { operation: describe(position) } },
      );
    }
  });
  const outputs = program.outputs.map((number) => tensors[number] as Hlo);
  const donations = donationsOf(program, tensors, spent);
  const { text, arguments: args } = builder.finish(inputs, program.inputTypes, outputs, donations);
  return {
    text,
    arguments: args,
    work: builder.work,
    outputs: outputs.map(({ type, shape, input, values }) => ({ type, shape, values: input === null ? values : null })),
    donated: new Set(args.filter((input) => donations.has(input))),
    replicas: builder.shards.size > 0 ? replicas : 1,
    shards: builder.shards,
    fixed: [...builder.fixed].sort((a, b) => a - b),
    stepOfLine: stepFinder(builder.stepOfLine),
  };
}

/**
 * Returns a function from a line to its step. The first line is the function's signature. A closure of its own, so that
 * a compiled module does not retain the builder and the graph's values.
 */
const stepFinder =
  (steps: readonly number[]) =>
  (line: number): number | null =>
    steps[line - 2] ?? null;
