import { isWhetstoneError } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import type { Kernel } from '../../kernels/kernel.js';
import type { Program } from '../../recorder/program.js';
import { bytesPerElement } from '../../recorder/types.js';
import type { Describe } from '../engine.js';
import type { LoadedExecutable, ModuleMemory } from './client.js';
import { partsOf, type Part } from './parts.js';
import { lower, type KnownInput, type LoweredModule, type LowerOptions } from './stablehlo/lower.js';

/** A module, compiled or about to be. */
export interface Module {
  readonly lowered: LoweredModule;
  /** Number in the program of its first step. */
  readonly firstStep: number;
  loaded: LoadedExecutable | null;
  memory: ModuleMemory | null;
}

/** One of the runs of modules, one after the other, that a program is. Tensors go by their numbers in the program. */
interface Stage {
  readonly module: Module;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** Those of its inputs that earlier stages made and that nobody needs afterwards. */
  readonly spent: readonly number[];
}

/** A program for certain shapes. */
export interface Stages {
  readonly stages: readonly Stage[];
  /** Each once, however many stages run it. */
  readonly modules: readonly Module[];
  readonly outputs: readonly KnownInput[];
  /** Numbers of its results. */
  readonly leaving: readonly number[];
  /** Inputs whose numbers are part of a module. */
  readonly fixed: readonly number[];
}

/** What is known of an input, with a number that is equal for equal types and shapes. */
export interface StageInput extends KnownInput {
  readonly signature: number;
}

/**
 * Spells a program as modules: on a processor the layers that repeat are one module, elsewhere the whole program is.
 */
export function stagesOf(
  program: Program,
  inputs: readonly StageInput[],
  describe: Describe,
  options: LowerOptions,
): Stages {
  const parts =
    options.onProcessor === true && (options.replicas ?? 1) === 1
      ? partsOf(program, (input) => inputs[input]?.signature ?? -1)
      : null;
  const inParts = parts === null ? null : stagesOfParts(program, parts, inputs, describe, options);
  if (inParts !== null) return inParts;
  const lowered = lower(program, inputs, describe, options);
  const module: Module = { lowered, firstStep: 0, loaded: null, memory: null };
  return {
    stages: [{ module, inputs: inputs.map((_, number) => number), outputs: program.outputs, spent: [] }],
    modules: [module],
    leaving: program.outputs,
    outputs: lowered.outputs,
    fixed: lowered.fixed,
  };
}

/** Null where a part cannot be lowered without the others. */
function stagesOfParts(
  program: Program,
  parts: readonly Part[],
  inputs: readonly KnownInput[],
  describe: Describe,
  options: LowerOptions,
): Stages | null {
  const known = new Map<number, KnownInput>(inputs.map((input, number) => [number, input]));
  const isMade = (number: number): boolean => number >= inputs.length;
  const fixed = new Set<number>();
  const alike = new Map<string, LoweredModule>();
  const lowerPart = ({ program: own, inputs: numbers, outputs, last, firstStep }: Part): LoweredModule => {
    const given = numbers.map((number) => known.get(number) as KnownInput);
    // Nobody else holds what an earlier part made.
    const spent = numbers.flatMap((number, place) =>
      last.has(place) && (isMade(number) || options.spent?.has(number) === true) ? [place] : [],
    );
    const key = spell(own, given, spent);
    const lowered =
      alike.get(key) ?? lower(own, given, (step) => describe(firstStep + step), { ...options, spent: new Set(spent) });
    alike.set(key, lowered);
    outputs.forEach((number, place) => known.set(number, lowered.outputs[place] as KnownInput));
    for (const number of lowered.fixed.map((place) => numbers[place] ?? 0)) if (!isMade(number)) fixed.add(number);
    return lowered;
  };
  let lowered: readonly LoweredModule[];
  try {
    lowered = parts.map(lowerPart);
  } catch (error) {
    // A shape that an earlier part passes on. What cannot be lowered at all is told by who tries it whole.
    if (isWhetstoneError(error) && error.code === 'BACKEND_FAILED') return null;
    throw error;
  }
  // How well to compile is a question of the whole.
  const work = lowered.reduce((sum, module) => sum + module.work, 0);
  const modules = new Map<string, Module>();
  const stages = parts.map(({ inputs: numbers, outputs, last, firstStep }, index): Stage => {
    const own = lowered[index] as LoweredModule;
    const module = modules.get(own.text) ?? { lowered: { ...own, work }, firstStep, loaded: null, memory: null };
    modules.set(own.text, module);
    return {
      module,
      inputs: numbers,
      outputs,
      spent: numbers.filter((number, place) => last.has(place) && isMade(number)),
    };
  });
  return {
    stages,
    modules: [...modules.values()],
    leaving: program.outputs,
    outputs: program.outputs.map((number) => known.get(number) as KnownInput),
    fixed: [...fixed].sort((a, b) => a - b),
  };
}

/** All that the lowering of a part depends on: what is spelled alike is lowered once. */
function spell({ steps, outputs }: Program, inputs: readonly KnownInput[], spent: readonly number[]): string {
  const words = steps.map(
    ({ kernel, parameters, inputs: operands }) => `${kernelNumber(kernel)}|${parameters.join('|')}|${operands.join()}`,
  );
  const given = inputs.map(
    ({ type, shape, values }) => `${type}[${shape.join()}]${values === null ? '' : Array.from(values).join()}`,
  );
  return `${words.join(';')};${given.join(';')};${spent.join()};${outputs.join()}`;
}

const kernelNumbers = new WeakMap<Kernel, number>();
let kernels = 0;

/** A number for each kernel: names may be given twice. */
function kernelNumber(kernel: Kernel): number {
  const known = kernelNumbers.get(kernel) ?? kernels++;
  kernelNumbers.set(kernel, known);
  return known;
}

/** The most memory that a run takes at once besides its inputs, as far as the plugin has said what its modules take. */
export function bytesOf({ stages }: Stages): number {
  const sizes = new Map<number, number>();
  let held = 0;
  let most = 0;
  for (const { module, outputs, spent } of stages) {
    const { memory, lowered } = module;
    if (memory !== null) most = Math.max(most, held + (memory.outputs + memory.temporaries) * lowered.replicas);
    outputs.forEach((number, place) => {
      const { type, shape } = lowered.outputs[place] as KnownInput;
      sizes.set(number, sizeOfShape(shape) * bytesPerElement[type]);
      held += sizes.get(number) ?? 0;
    });
    for (const number of spent) held -= sizes.get(number) ?? 0;
  }
  return most;
}
