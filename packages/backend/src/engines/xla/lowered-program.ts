import { isWhetstoneError } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import type { Kernel } from '../../kernels/kernel.js';
import type { Program } from '../../recorder/program.js';
import { bytesPerElement } from '../../recorder/types.js';
import type { Describe } from '../engine.js';
import type { LoadedExecutable, ModuleMemory } from './client.js';
import { splitIntoSegments, type ProgramSegment } from './program-segments.js';
import { lower, type KnownInput, type LoweredModule, type LowerOptions } from './stablehlo/lower.js';

/** A module. `loaded` is null until it is compiled. */
export interface Module {
  readonly lowered: LoweredModule;
  /** Position of its first step in the program. */
  readonly firstStep: number;
  loaded: LoadedExecutable | null;
  memory: ModuleMemory | null;
}

/** One segment of a program: a run of a module. Inputs and outputs go by their numbers in the program. */
interface LoweredSegment {
  readonly module: Module;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** Inputs that earlier segments computed and no later segment needs. */
  readonly spent: readonly number[];
}

/** A program for certain shapes, as segments that run in order. */
export interface LoweredProgram {
  readonly segments: readonly LoweredSegment[];
  /** The distinct modules. Equal segments share one. */
  readonly modules: readonly Module[];
  readonly outputs: readonly KnownInput[];
  /** Numbers of the results. */
  readonly resultNumbers: readonly number[];
  /** Inputs whose values are part of a module. */
  readonly fixed: readonly number[];
}

/** An input with a number for its type and shape. */
export interface ProgramInput extends KnownInput {
  readonly signature: number;
}

/** Lowers a program to modules. On one CPU device, repeated layers share a module; otherwise there is one module. */
export function lowerProgram(
  program: Program,
  inputs: readonly ProgramInput[],
  describe: Describe,
  options: LowerOptions,
): LoweredProgram {
  const segments =
    options.onProcessor === true && (options.replicas ?? 1) === 1
      ? splitIntoSegments(program, (input) => inputs[input]?.signature ?? -1)
      : null;
  const inSegments = segments === null ? null : lowerSegments(program, segments, inputs, describe, options);
  if (inSegments !== null) return inSegments;
  const lowered = lower(program, inputs, describe, options);
  const module: Module = { lowered, firstStep: 0, loaded: null, memory: null };
  return {
    segments: [{ module, inputs: inputs.map((_, number) => number), outputs: program.outputs, spent: [] }],
    modules: [module],
    resultNumbers: program.outputs,
    outputs: lowered.outputs,
    fixed: lowered.fixed,
  };
}

/** Returns null if a segment cannot be lowered separately. */
function lowerSegments(
  program: Program,
  segments: readonly ProgramSegment[],
  inputs: readonly KnownInput[],
  describe: Describe,
  options: LowerOptions,
): LoweredProgram | null {
  const known = new Map<number, KnownInput>(inputs.map((input, number) => [number, input]));
  const isComputed = (number: number): boolean => number >= inputs.length;
  const fixed = new Set<number>();
  const loweredByKey = new Map<string, LoweredModule>();
  const lowerSegment = ({
    program: own,
    inputs: numbers,
    outputs,
    lastUses,
    firstStep,
  }: ProgramSegment): LoweredModule => {
    const segmentInputs = numbers.map((number) => known.get(number) as KnownInput);
    // Only segments hold the results of earlier segments.
    const spent = numbers.flatMap((number, position) =>
      lastUses.has(position) && (isComputed(number) || options.spent?.has(number) === true) ? [position] : [],
    );
    const key = segmentKey(own, segmentInputs, spent);
    const lowered =
      loweredByKey.get(key) ??
      lower(own, segmentInputs, (step) => describe(firstStep + step), { ...options, spent: new Set(spent) });
    loweredByKey.set(key, lowered);
    outputs.forEach((number, position) => known.set(number, lowered.outputs[position] as KnownInput));
    for (const number of lowered.fixed.map((position) => numbers[position] ?? 0))
      if (!isComputed(number)) fixed.add(number);
    return lowered;
  };
  let lowered: readonly LoweredModule[];
  try {
    lowered = segments.map(lowerSegment);
  } catch (error) {
    // An earlier segment computes a shape. Any other error occurs again when the program is lowered as one module.
    if (isWhetstoneError(error) && error.code === 'BACKEND_FAILED') return null;
    throw error;
  }
  // The compiler's effort depends on the work of the complete program.
  const work = lowered.reduce((sum, module) => sum + module.work, 0);
  const modules = new Map<string, Module>();
  const loweredSegments = segments.map(({ inputs: numbers, outputs, lastUses, firstStep }, index): LoweredSegment => {
    const own = lowered[index] as LoweredModule;
    const module = modules.get(own.text) ?? { lowered: { ...own, work }, firstStep, loaded: null, memory: null };
    modules.set(own.text, module);
    return {
      module,
      inputs: numbers,
      outputs,
      spent: numbers.filter((number, position) => lastUses.has(position) && isComputed(number)),
    };
  });
  return {
    segments: loweredSegments,
    modules: [...modules.values()],
    resultNumbers: program.outputs,
    outputs: program.outputs.map((number) => known.get(number) as KnownInput),
    fixed: [...fixed].sort((a, b) => a - b),
  };
}

/** Returns a key of everything that the lowering of a segment depends on. */
function segmentKey({ steps, outputs }: Program, inputs: readonly KnownInput[], spent: readonly number[]): string {
  const stepKeys = steps.map(
    ({ kernel, parameters, inputs: operands }) => `${kernelNumber(kernel)}|${parameters.join('|')}|${operands.join()}`,
  );
  const inputKeys = inputs.map(
    ({ type, shape, values }) => `${type}[${shape.join()}]${values === null ? '' : Array.from(values).join()}`,
  );
  return `${stepKeys.join(';')};${inputKeys.join(';')};${spent.join()};${outputs.join()}`;
}

const kernelNumbers = new WeakMap<Kernel, number>();
let kernels = 0;

/** Returns a kernel's number. Names are not unique. */
function kernelNumber(kernel: Kernel): number {
  const known = kernelNumbers.get(kernel) ?? kernels++;
  kernelNumbers.set(kernel, known);
  return known;
}

/** Returns the peak memory of a run in bytes, without its inputs, from what the plugin reports of its modules. */
export function peakBytes({ segments }: LoweredProgram): number {
  const sizes = new Map<number, number>();
  let held = 0;
  let peak = 0;
  for (const { module, outputs, spent } of segments) {
    const { memory, lowered } = module;
    if (memory !== null) peak = Math.max(peak, held + (memory.outputs + memory.temporaries) * lowered.replicas);
    outputs.forEach((number, position) => {
      const { type, shape } = lowered.outputs[position] as KnownInput;
      sizes.set(number, sizeOfShape(shape) * bytesPerElement[type]);
      held += sizes.get(number) ?? 0;
    });
    for (const number of spent) held -= sizes.get(number) ?? 0;
  }
  return peak;
}
