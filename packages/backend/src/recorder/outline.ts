import { alikePieces, type Piece } from './pieces.js';
import { producersOf, type Program, type Step } from './program.js';
import { layerLimits, type RepeatLimits } from './repeats.js';
import type { PhysicalType } from './types.js';

/** A call of a part: its inputs are the part's, its results the part's outputs. */
export type Call = Pick<Step, 'inputs' | 'firstOutput' | 'outputs' | 'after'> & { readonly part: number };

/** What stands at a position of the program: a step, or a call of all steps from there on that its part stands for. */
export type OutlinedStep = { readonly position: number } & ({ readonly step: Step } | { readonly call: Call });

/** A program whose repeated pieces are parts of their own. Inputs are the program's. */
export interface Outlined {
  readonly steps: readonly OutlinedStep[];
  readonly parts: readonly Program[];
  /** Dtype of every numbered tensor. */
  readonly types: readonly PhysicalType[];
  readonly outputs: readonly number[];
}

/**
 * Makes pieces of a program that repeat one another, as a model's layers do, parts that are called: a compiler takes
 * each in once. Null where nothing repeats. The same operations on the same operands. A part has for outputs what any
 * of its calls is asked for; what one call takes twice and another does not is two inputs of the part.
 */
export function outline(program: Program, limits: RepeatLimits = layerLimits): Outlined | null {
  const producers = producersOf(program);
  const groups = alikePieces(program, producers, limits);
  if (groups.length === 0) return null;
  const { steps } = program;
  const leaving = leavingPieces(program, producers, groups.flat());
  const types = [...program.types];
  const parts: Program[] = [];
  const renamed = new Map<number, number>();
  const calls = new Map<number, { readonly call: Call; readonly end: number }>();
  for (const pieces of groups) {
    const part = partOf(program, producers, pieces, leaving);
    for (const [index, { start, end }] of pieces.entries()) {
      const firstOutput = types.length;
      for (const [number, { offset, output }] of part.results.entries()) {
        const tensor = (steps[start + offset]?.firstOutput ?? 0) + output;
        renamed.set(tensor, firstOutput + number);
        types.push(program.types[tensor] ?? 'float32');
      }
      const after = outerAfter(program, producers, { start, end });
      const call = {
        part: parts.length,
        inputs: part.inputs.map((tensors) => tensors[index] ?? 0),
        firstOutput,
        outputs: part.results.length,
        ...(after.length === 0 ? {} : { after }),
      };
      calls.set(start, { call, end });
    }
    parts.push(part.program);
  }
  const named = <S extends Pick<Step, 'inputs' | 'after'>>(step: S): S => {
    const name = (tensor: number): number => renamed.get(tensor) ?? tensor;
    return {
      ...step,
      inputs: step.inputs.map(name),
      ...(step.after === undefined ? {} : { after: step.after.map(name) }),
    };
  };
  const made: OutlinedStep[] = [];
  let position = 0;
  for (let step = steps[position]; step !== undefined; step = steps[position]) {
    const called = calls.get(position);
    made.push(called === undefined ? { position, step: named(step) } : { position, call: named(called.call) });
    position = called?.end ?? position + 1;
  }
  return { steps: made, parts, types, outputs: program.outputs.map((tensor) => renamed.get(tensor) ?? tensor) };
}

/** Results of pieces that somebody outside of their piece asks for. */
function leavingPieces(
  { steps, outputs }: Program,
  producers: Int32Array,
  pieces: readonly Piece[],
): ReadonlySet<number> {
  const pieceOf = new Int32Array(steps.length).fill(-1);
  pieces.forEach(({ start, end }, piece) => pieceOf.fill(piece, start, end));
  const leaving = new Set(outputs);
  steps.forEach(({ inputs, after = [] }, position) => {
    for (const tensor of [...inputs, ...after]) {
      const producer = producers[tensor] ?? -1;
      if (producer >= 0 && pieceOf[producer] !== -1 && pieceOf[producer] !== pieceOf[position]) leaving.add(tensor);
    }
  });
  return leaving;
}

/** What has to be there before a piece begins, beside its inputs. */
function outerAfter({ steps }: Program, producers: Int32Array, { start, end }: Piece): number[] {
  const after = steps.slice(start, end).flatMap((step) => step.after ?? []);
  return [...new Set(after.filter((tensor) => (producers[tensor] ?? -1) < start))];
}

interface Part {
  readonly program: Program;
  /** For each of its inputs what each piece takes there. */
  readonly inputs: readonly (readonly number[])[];
  /** What its outputs are: which result of which of its steps. */
  readonly results: readonly { readonly offset: number; readonly output: number }[];
}

/** What pieces that are alike have in common. */
function partOf(program: Program, producers: Int32Array, pieces: readonly Piece[], leaving: ReadonlySet<number>): Part {
  const { steps, types: allTypes, name, matmul } = program;
  const [model] = pieces as readonly [Piece, ...Piece[]];
  const isInner = (tensor: number): boolean => (producers[tensor] ?? -1) >= model.start;
  const own = steps.slice(model.start, model.end);

  const inputs: (readonly number[])[] = [];
  const inputOf = new Map<string, number>();
  /** Number in the part of what all pieces take from outside at one place. */
  const outer = (offset: number, operand: number): number => {
    const tensors = pieces.map(({ start }) => steps[start + offset]?.inputs[operand] ?? 0);
    const key = tensors.join();
    const known = inputOf.get(key);
    if (known !== undefined) return known;
    inputOf.set(key, inputs.length);
    return inputs.push(tensors) - 1;
  };
  // Inputs have the first numbers: how many there are has to be known before results are numbered.
  const operands = own.map((step, offset) =>
    step.inputs.map((tensor, operand) => (isInner(tensor) ? null : outer(offset, operand))),
  );

  const types = inputs.map(([tensor = 0]) => allTypes[tensor] ?? 'float32');
  const inner = new Map<number, number>();
  const results: { offset: number; output: number }[] = [];
  const outputs: number[] = [];
  const partSteps = own.map((step, offset): Step => {
    const { after = [], ...rest } = step;
    const waits = after.filter(isInner).map((tensor) => inner.get(tensor) ?? 0);
    const firstOutput = types.length;
    for (let output = 0; output < step.outputs; output++) {
      if (pieces.some(({ start }) => leaving.has((steps[start + offset]?.firstOutput ?? 0) + output))) {
        results.push({ offset, output });
        outputs.push(types.length);
      }
      inner.set(step.firstOutput + output, types.length);
      types.push(allTypes[step.firstOutput + output] ?? 'float32');
    }
    const numbered = step.inputs.map((tensor, operand) => operands[offset]?.[operand] ?? inner.get(tensor) ?? 0);
    return { ...rest, inputs: numbered, firstOutput, ...(waits.length === 0 ? {} : { after: waits }) };
  });
  return {
    program: {
      name: `${name} part`,
      matmul,
      inputTypes: types.slice(0, inputs.length),
      steps: partSteps,
      types,
      outputs,
    },
    inputs,
    results,
  };
}
