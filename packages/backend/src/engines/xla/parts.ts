import { stepSymbols } from '../../recorder/repeated-segments.js';
import type { Program, Step } from '../../recorder/program.js';
import { findRepeats, layerLimits } from '../../recorder/repeats.js';

/** Some successive steps of a program as a program of their own. */
export interface Part {
  /**
   * Its inputs are numbered in the order in which its steps ask for them, so that parts that do the same are the same.
   */
  readonly program: Program;
  /** Number of its first step in the whole. */
  readonly firstStep: number;
  /** Number in the whole of each of its inputs. */
  readonly inputs: readonly number[];
  /** Number in the whole of each of its outputs. */
  readonly outputs: readonly number[];
  /** Those of its inputs, by their place, that no later part asks for and that do not leave the whole. */
  readonly last: ReadonlySet<number>;
}

/**
 * Layers that come more often are taken several at a time: each part is an execution, and a plugin allows few in
 * flight.
 */
const MOST_TIMES = 8;

/**
 * A program in parts, so that layers that repeat one another are compiled and loaded once; null where nothing repeats.
 *
 * @param shapeOf a number for type and shape of each of the program's inputs
 */
export function partsOf(program: Program, shapeOf: (input: number) => number): readonly Part[] | null {
  const repeats = findRepeats(stepSymbols(program, shapeOf), layerLimits);
  if (repeats.length === 0) return null;
  const cuts = repeats.flatMap(({ start, period, end }) => {
    const times = Math.floor((end - start) / period);
    const together = period * Math.ceil(times / MOST_TIMES);
    return Array.from({ length: Math.floor((times * period) / together) + 1 }, (_, time) => start + time * together);
  });
  const bounds = [...new Set([0, ...cuts, program.steps.length])].toSorted((a, b) => a - b);
  /** For each tensor the last step that asks for it. */
  const lastUse = new Map<number, number>();
  program.steps.forEach(({ inputs }, position) => {
    for (const input of inputs) lastUse.set(input, position);
  });
  for (const output of program.outputs) lastUse.set(output, Infinity);
  return bounds
    .slice(1)
    .map((end, index) => partOf(program, bounds[index] ?? 0, end, (tensor) => lastUse.get(tensor) ?? -1));
}

function partOf(program: Program, from: number, to: number, lastUse: (tensor: number) => number): Part {
  const whole = program.steps.slice(from, to);
  const made = new Set(
    whole.flatMap(({ firstOutput, outputs }) => Array.from({ length: outputs }, (_, offset) => firstOutput + offset)),
  );
  const inputs = [...new Set(whole.flatMap((step) => step.inputs))].filter((tensor) => !made.has(tensor));
  const numbers = new Map([...inputs, ...made].map((tensor, number) => [tensor, number]));
  const numberOf = (tensor: number): number => numbers.get(tensor) ?? -1;
  const steps = whole.map((step): Step => ({
    ...step,
    inputs: step.inputs.map(numberOf),
    firstOutput: numberOf(step.firstOutput),
  }));
  const types = [...numbers.keys()].map((tensor) => program.types[tensor] ?? 'float32');
  const outputs = [...made].filter((tensor) => lastUse(tensor) >= to);
  return {
    program: { ...program, steps, types, inputTypes: types.slice(0, inputs.length), outputs: outputs.map(numberOf) },
    firstStep: from,
    inputs,
    outputs,
    last: new Set(inputs.flatMap((tensor, place) => (lastUse(tensor) < to ? [place] : []))),
  };
}
