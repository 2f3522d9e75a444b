import { stepSymbols } from '../../recorder/repeated-segments.js';
import type { Program, Step } from '../../recorder/program.js';
import { findRepeats, layerLimits } from '../../recorder/repeats.js';

/** Consecutive steps of a program, as a program. "Original" numbers are those of the complete program. */
export interface ProgramSegment {
  /** Its inputs are numbered in order of first use, so that equal segments have equal programs. */
  readonly program: Program;
  /** Position of its first step in the original program. */
  readonly firstStep: number;
  /** Original numbers of its inputs. */
  readonly inputs: readonly number[];
  /** Original numbers of its outputs. */
  readonly outputs: readonly number[];
  /** Positions of the inputs that no later segment uses and that are not results of the original program. */
  readonly lastUses: ReadonlySet<number>;
}

/** Segments per repeat. More layers than this are grouped: a plugin allows few executions in flight. */
const MAX_SEGMENTS = 8;

/**
 * Splits a program into segments, so that repeated layers are compiled and loaded once. Returns null if nothing
 * repeats.
 *
 * @param shapeOf numbers type and shape of each of the program's inputs
 */
export function splitIntoSegments(
  program: Program,
  shapeOf: (input: number) => number,
): readonly ProgramSegment[] | null {
  const repeats = findRepeats(stepSymbols(program, shapeOf), layerLimits);
  if (repeats.length === 0) return null;
  const cuts = repeats.flatMap(({ start, period, end }) => {
    const periods = Math.floor((end - start) / period);
    const length = period * Math.ceil(periods / MAX_SEGMENTS);
    return Array.from({ length: Math.floor((periods * period) / length) + 1 }, (_, index) => start + index * length);
  });
  const bounds = [...new Set([0, ...cuts, program.steps.length])].toSorted((a, b) => a - b);
  /** The last step that uses each tensor. */
  const lastUse = new Map<number, number>();
  program.steps.forEach(({ inputs }, position) => {
    for (const input of inputs) lastUse.set(input, position);
  });
  for (const output of program.outputs) lastUse.set(output, Infinity);
  return bounds
    .slice(1)
    .map((end, index) => segmentOf(program, bounds[index] ?? 0, end, (tensor) => lastUse.get(tensor) ?? -1));
}

function segmentOf(program: Program, from: number, to: number, lastUse: (tensor: number) => number): ProgramSegment {
  const originalSteps = program.steps.slice(from, to);
  const computed = new Set(
    originalSteps.flatMap(({ firstOutput, outputs }) =>
      Array.from({ length: outputs }, (_, offset) => firstOutput + offset),
    ),
  );
  const inputs = [...new Set(originalSteps.flatMap((step) => step.inputs))].filter((tensor) => !computed.has(tensor));
  const numbers = new Map([...inputs, ...computed].map((tensor, number) => [tensor, number]));
  const numberOf = (tensor: number): number => numbers.get(tensor) ?? -1;
  const steps = originalSteps.map((step): Step => ({
    ...step,
    inputs: step.inputs.map(numberOf),
    firstOutput: numberOf(step.firstOutput),
  }));
  const types = [...numbers.keys()].map((tensor) => program.types[tensor] ?? 'float32');
  const outputs = [...computed].filter((tensor) => lastUse(tensor) >= to);
  return {
    program: { ...program, steps, types, inputTypes: types.slice(0, inputs.length), outputs: outputs.map(numberOf) },
    firstStep: from,
    inputs,
    outputs,
    lastUses: new Set(inputs.flatMap((tensor, position) => (lastUse(tensor) < to ? [position] : []))),
  };
}
