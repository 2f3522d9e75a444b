import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import type { Program } from '../../../recorder/program.js';
import type { StorageDtype } from '../../../recorder/types.js';
import type { Describe } from '../../engine.js';
import { ModuleBuilder, type Hlo, type Row } from './builder.js';
import { donationsOf } from './donations.js';
import { elementwiseRows } from './elementwise.js';
import { indexingRows } from './indexing.js';
import { matrixRows } from './matrix.js';
import { movementRows } from './movement.js';
import { randomRows } from './random.js';
import { reductionRows } from './reductions.js';
import { emitKernel } from '../../../kernels/matmul-policy.js';
import { messageOf } from '@whetstone/core/util';

/** The TensorFlow ops that records of kernels speak of, each with its StableHLO. */
export const rows: Readonly<Record<string, Row>> = {
  ...elementwiseRows,
  ...reductionRows,
  ...matrixRows,
  ...movementRows,
  ...indexingRows,
  ...randomRows,
};

/** What is known of one input of a program when it is lowered. */
export interface KnownInput {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  /** Its numbers, where the host still has them. */
  readonly values: ArrayLike<number> | null;
}

/** A program for certain shapes. */
export interface LoweredModule {
  readonly text: string;
  /** Which of the program's inputs the module takes, in order. */
  readonly arguments: readonly number[];
  /** Inputs whose numbers are part of the module. */
  readonly fixed: readonly number[];
  /** How many numbers it computes. */
  readonly work: number;
  /** Their numbers, too, where these are the same whatever the inputs hold. */
  readonly outputs: readonly KnownInput[];
  /** Inputs whose memory a result takes, unless that is forbidden at a run. */
  readonly donated: ReadonlySet<number>;
  /** Copies that run at once, each on a device of its own. */
  readonly replicas: number;
  /** Where each replica has an input of its own instead of one argument: the inputs, by that argument. */
  readonly shards: ReadonlyMap<number, readonly number[]>;
  /** Number of the step whose lowering wrote a line of the text, counted from 1. */
  stepOfLine(line: number): number | null;
}

export interface LowerOptions {
  /** Inputs that nobody will ask for again. */
  readonly spent?: ReadonlySet<number>;
  /** Devices over which a sum of one tensor a device is taken. */
  readonly replicas?: number;
  /** Whether the module is for a processor rather than for an accelerator. */
  readonly onProcessor?: boolean;
}

/** Spells a program as a StableHLO module for inputs of these shapes. */
export function lower(
  program: Program,
  inputs: readonly KnownInput[],
  describe: Describe,
  { spent = new Set(), replicas = 1, onProcessor = false }: LowerOptions = {},
): LoweredModule {
  const builder = new ModuleBuilder(rows, replicas, onProcessor);
  const tensors: Hlo[] = inputs.map(({ type, shape, values }, input) => ({ type, shape, name: null, input, values }));
  program.steps.forEach((step, position) => {
    builder.step = position;
    const operands = step.inputs.map((number) => tensors[number] as Hlo);
    try {
      const lowering = step.kernel.stablehlo;
      const made =
        lowering === undefined
          ? emitKernel<Hlo>(builder, program, step, operands)
          : lowering(builder, operands.slice(0, step.tensorInputs), operands.slice(step.tensorInputs), step.parameters);
      const results = Array.isArray(made) ? (made as readonly Hlo[]) : [made as Hlo];
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
  const { text, arguments: taken } = builder.finish(inputs, program.inputTypes, outputs, donations);
  return {
    text,
    arguments: taken,
    work: builder.work,
    outputs: outputs.map(({ type, shape, input, values }) => ({ type, shape, values: input === null ? values : null })),
    donated: new Set(taken.filter((input) => donations.has(input))),
    replicas: builder.shards.size > 0 ? replicas : 1,
    shards: builder.shards,
    fixed: [...builder.fixed].sort((a, b) => a - b),
    stepOfLine: stepFinder(builder.stepOfLine),
  };
}

/**
 * The first line is the function's head. Made here, so that what is kept with a compiled module holds neither the text
 * that was built nor the graph's values.
 */
const stepFinder =
  (steps: readonly number[]) =>
  (line: number): number | null =>
    steps[line - 2] ?? null;
