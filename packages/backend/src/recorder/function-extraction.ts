import { producersOf, type Program, type Step } from './program.js';
import { findRepeatedSegments, type Segment } from './repeated-segments.js';
import { layerLimits, type RepeatLimits } from './repeats.js';
import type { StorageDtype } from './types.js';

/** A call of a function. Inputs and outputs are in the order of the function's. */
export type FunctionCall = Pick<Step, 'inputs' | 'firstOutput' | 'outputs' | 'controlInputs'> & {
  /** Index of the called function. */
  readonly callee: number;
};

/** A step of the original program, or a call that replaces consecutive steps from `position` on. */
export type CallOrStep = { readonly position: number } & ({ readonly step: Step } | { readonly call: FunctionCall });

/** A program whose repeated segments are functions. Its inputs are those of the original program. */
export interface ExtractedProgram {
  readonly steps: readonly CallOrStep[];
  readonly functions: readonly Program[];
  /** Dtype of every numbered tensor. */
  readonly types: readonly StorageDtype[];
  readonly outputs: readonly number[];
}

/**
 * Turns repeated segments of a program, such as a model's layers, into functions, so that a compiler processes each
 * once. Returns null if nothing repeats. Operations and operands stay the same. A function returns every result that
 * any of its calls needs. Operands that are equal in one call but not in another are separate inputs.
 */
export function extractFunctions(program: Program, limits: RepeatLimits = layerLimits): ExtractedProgram | null {
  const producers = producersOf(program);
  const groups = findRepeatedSegments(program, producers, limits);
  if (groups.length === 0) return null;
  const escaping = escapingResults(program, producers, groups.flat());
  const types = [...program.types];
  const functions: Program[] = [];
  const renamed = new Map<number, number>();
  const calls = new Map<number, { readonly call: FunctionCall; readonly end: number }>();
  for (const segments of groups) {
    const extracted = extractFunction(program, producers, segments, escaping);
    for (const [index, segment] of segments.entries()) {
      const firstOutput = types.length;
      for (const [number, { offset, output }] of extracted.results.entries()) {
        const tensor = (program.steps[segment.start + offset]?.firstOutput ?? 0) + output;
        renamed.set(tensor, firstOutput + number);
        types.push(program.types[tensor] ?? 'float32');
      }
      const call: FunctionCall = {
        callee: functions.length,
        inputs: extracted.inputs.map((tensors) => tensors[index] ?? 0),
        firstOutput,
        outputs: extracted.results.length,
        controlInputs: unlessEmpty(outerControlInputs(program, producers, segment)),
      };
      calls.set(segment.start, { call, end: segment.end });
    }
    functions.push(extracted.program);
  }
  return {
    steps: replaceSegments(program, calls, renamed),
    functions,
    types,
    outputs: rename(program.outputs, renamed),
  };
}

const rename = (tensors: readonly number[], renamed: ReadonlyMap<number, number>): number[] =>
  tensors.map((tensor) => renamed.get(tensor) ?? tensor);

const unlessEmpty = <T>(items: readonly T[]): readonly T[] | undefined => (items.length === 0 ? undefined : items);

/** Returns the program's steps with calls instead of segments. Operands go by their new numbers. */
function replaceSegments(
  { steps }: Program,
  calls: ReadonlyMap<number, { readonly call: FunctionCall; readonly end: number }>,
  renamed: ReadonlyMap<number, number>,
): CallOrStep[] {
  const withNewNumbers = <S extends Pick<Step, 'inputs' | 'controlInputs'>>(step: S): S => ({
    ...step,
    inputs: rename(step.inputs, renamed),
    controlInputs: step.controlInputs && rename(step.controlInputs, renamed),
  });
  const replaced: CallOrStep[] = [];
  let position = 0;
  for (let step = steps[position]; step !== undefined; step = steps[position]) {
    const called = calls.get(position);
    replaced.push(
      called === undefined ? { position, step: withNewNumbers(step) } : { position, call: withNewNumbers(called.call) },
    );
    position = called?.end ?? position + 1;
  }
  return replaced;
}

/** Returns the results of segments that are used outside of their segment. */
function escapingResults(
  { steps, outputs }: Program,
  producers: Int32Array,
  segments: readonly Segment[],
): ReadonlySet<number> {
  const segmentOf = new Int32Array(steps.length).fill(-1);
  segments.forEach(({ start, end }, segment) => segmentOf.fill(segment, start, end));
  const escaping = new Set(outputs);
  steps.forEach(({ inputs, controlInputs = [] }, position) => {
    for (const tensor of [...inputs, ...controlInputs]) {
      const producer = producers[tensor] ?? -1;
      if (producer >= 0 && segmentOf[producer] !== -1 && segmentOf[producer] !== segmentOf[position])
        escaping.add(tensor);
    }
  });
  return escaping;
}

/** Returns the control inputs of a segment that are computed before it. */
function outerControlInputs({ steps }: Program, producers: Int32Array, { start, end }: Segment): number[] {
  const controlInputs = steps.slice(start, end).flatMap((step) => step.controlInputs ?? []);
  return [...new Set(controlInputs.filter((tensor) => (producers[tensor] ?? -1) < start))];
}

interface ExtractedFunction {
  readonly program: Program;
  /** For each input of the function, the tensor that each segment passes. */
  readonly inputs: readonly (readonly number[])[];
  /** For each output of the function, its step and which of the step's results it is. */
  readonly results: readonly { readonly offset: number; readonly output: number }[];
}

/** Returns the function that equal segments have in common. */
function extractFunction(
  program: Program,
  producers: Int32Array,
  segments: readonly Segment[],
  escaping: ReadonlySet<number>,
): ExtractedFunction {
  const { steps, types: allTypes, name, matmul } = program;
  const [first] = segments as readonly [Segment, ...Segment[]];
  const isInner = (tensor: number): boolean => (producers[tensor] ?? -1) >= first.start;
  const own = steps.slice(first.start, first.end);

  const inputs: (readonly number[])[] = [];
  const inputNumbers = new Map<string, number>();
  /** Returns the function's input for an operand that is computed outside of all segments. */
  const inputOf = (offset: number, operand: number): number => {
    const tensors = segments.map(({ start }) => steps[start + offset]?.inputs[operand] ?? 0);
    const key = tensors.join();
    const known = inputNumbers.get(key);
    if (known !== undefined) return known;
    inputNumbers.set(key, inputs.length);
    return inputs.push(tensors) - 1;
  };
  // Inputs have the first numbers, so all of them must be known before results are numbered.
  const outerOperands = own.map((step, offset) =>
    step.inputs.map((tensor, operand) => (isInner(tensor) ? null : inputOf(offset, operand))),
  );

  const types = inputs.map(([tensor = 0]) => allTypes[tensor] ?? 'float32');
  const innerNumbers = new Map<number, number>();
  const results: { offset: number; output: number }[] = [];
  const outputs: number[] = [];
  const functionSteps = own.map((step, offset): Step => {
    const controlInputs = (step.controlInputs ?? []).filter(isInner).map((tensor) => innerNumbers.get(tensor) ?? 0);
    const firstOutput = types.length;
    for (let output = 0; output < step.outputs; output++) {
      if (segments.some(({ start }) => escaping.has((steps[start + offset]?.firstOutput ?? 0) + output))) {
        results.push({ offset, output });
        outputs.push(types.length);
      }
      innerNumbers.set(step.firstOutput + output, types.length);
      types.push(allTypes[step.firstOutput + output] ?? 'float32');
    }
    const operands = step.inputs.map(
      (tensor, operand) => outerOperands[offset]?.[operand] ?? innerNumbers.get(tensor) ?? 0,
    );
    return { ...step, inputs: operands, firstOutput, controlInputs: unlessEmpty(controlInputs) };
  });
  const inputTypes = types.slice(0, inputs.length);
  return {
    program: { name: `${name} segment`, matmul, inputTypes, steps: functionSteps, types, outputs },
    inputs,
    results,
  };
}
