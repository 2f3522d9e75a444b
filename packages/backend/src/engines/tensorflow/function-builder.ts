import { type Emitter, withControlInputs } from '../../kernels/emitter.js';
import { extractFunctions, type FunctionCall, type CallOrStep } from '../../recorder/function-extraction.js';
import type { Program, Step } from '../../recorder/program.js';
import type { StorageDtype } from '../../recorder/types.js';
import type { Describe } from '../engine.js';
import { at, GraphEmitter, pack, trueAttribute, type GraphTensor } from './graph-emitter.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import type { Loop } from './loops.js';
import { partName, type Status } from './status.js';
import { takeInput, takingSteps, waitingInput } from './taken-inputs.js';
import { emitKernel } from '../../kernels/matmul-policy.js';

/** A function of TensorFlow's, and its name. */
export interface MadeFunction {
  readonly name: string;
  readonly pointer: Pointer;
}

/**
 * Compiles a program into TF_Functions, a little at a time: it yields wherever it may rest. The first is called `name`
 * and is the program, the others are those that it calls for pieces that repeat one another, and loops. The caller
 * deletes what it returns. Inputs at the positions `taken` are no arguments: it takes them from variables.
 */
export function* buildFunctions(
  library: TensorflowLibrary,
  status: Status,
  program: Program,
  name: string,
  describe: Describe,
  taken: ReadonlySet<number> = new Set(),
): Generator<void, readonly MadeFunction[]> {
  const outlined = extractFunctions(program);
  const taking = takingSteps(program, taken);
  const parts: MadeFunction[] = [];
  const loops = new Map<string, Loop>();
  let main: MadeFunction | null = null;
  try {
    for (const [number, part] of (outlined?.functions ?? []).entries()) {
      const first = outlined?.steps.find((step) => 'call' in step && step.call.callee === number)?.position ?? 0;
      parts.push(
        yield* buildPart(library, status, part, partName(name, number), (step) => describe(first + step), { loops }),
      );
    }
    const outlinedParts = parts.length;
    for (const [number, { program: part, first, inVariables }] of taking.parts.entries()) {
      parts.push(
        yield* buildPart(
          library,
          status,
          part,
          partName(name, outlinedParts + number),
          (step) => describe(first + step),
          { loops, inVariables },
        ),
      );
    }
    yield;
    const steps = (outlined?.steps ?? program.steps.map((step, position) => ({ position, step }))).map(
      (entry): CallOrStep => {
        const part = taking.partOf.get(entry.position);
        return part === undefined || 'call' in entry
          ? entry
          : { position: entry.position, call: { ...entry.step, callee: outlinedParts + part } };
      },
    );
    main = yield* buildFunction(library, status, { ...program, ...outlined, steps }, name, describe, {
      loops,
      parts,
      taken,
      handedOn: taking.inputs,
    });
    return [main, ...parts, ...loops.values()];
  } finally {
    if (main === null) for (const { pointer } of [...parts, ...loops.values()]) library.TF_DeleteFunction(pointer);
  }
}

/** Builds a function that others call. */
function* buildPart(
  library: TensorflowLibrary,
  status: Status,
  part: Program,
  name: string,
  describe: Describe,
  options: FunctionOptions,
): Generator<void, MadeFunction> {
  const made = yield* buildFunction(
    library,
    status,
    { ...part, steps: part.steps.map((step, position) => ({ position, step })) },
    name,
    describe,
    options,
  );
  // Else TensorFlow puts it back where it is called.
  library.TF_FunctionSetAttrValueProto(made.pointer, '_noinline', trueAttribute, trueAttribute.length, status.pointer);
  status.check('Marking a function');
  return made;
}

interface FunctionOptions {
  /** The program's loops so far, by name. */
  readonly loops: Map<string, Loop>;
  /** The functions that it calls. */
  readonly parts?: readonly MadeFunction[];
  /** Inputs that are no arguments: they wait in variables. */
  readonly taken?: ReadonlySet<number>;
  /** Those of them that are handed on in their variables. */
  readonly handedOn?: ReadonlySet<number>;
  /** Arguments that are variables, out of which inputs are taken. */
  readonly inVariables?: ReadonlySet<number>;
}

/** Builds one function. */
function* buildFunction(
  library: TensorflowLibrary,
  status: Status,
  program: Omit<Program, 'steps'> & { readonly steps: readonly CallOrStep[] },
  name: string,
  describe: Describe,
  { loops, parts = [], taken = new Set(), handedOn = new Set(), inVariables = new Set() }: FunctionOptions,
): Generator<void, MadeFunction> {
  const graph = library.TF_NewGraph();
  try {
    for (const { pointer } of parts) {
      library.TF_GraphCopyFunction(graph, pointer, 0n, status.pointer);
      status.check('Giving a function to a graph');
    }
    const emitter = new GraphEmitter(library, status, graph, describe, loops);
    const given: GraphTensor[] = [];
    const tensors = program.inputTypes.map((type, position): GraphTensor => {
      emitter.enterInput(position);
      if (!taken.has(position)) {
        const argument = emitter.placeholder(position, type, inVariables.has(position));
        given.push(argument);
        return inVariables.has(position) ? { ...takeInput(emitter, argument, type), type } : argument;
      }
      const variable = waitingInput(emitter, name, position, type);
      return handedOn.has(position)
        ? { ...variable, type, isVariable: true }
        : { ...takeInput(emitter, variable, type), type };
    });
    const inputs = pack(given);
    const emit = (entry: CallOrStep): void => {
      const { firstOutput, outputs } = 'step' in entry ? entry.step : entry.call;
      const types = program.types.slice(firstOutput, firstOutput + outputs);
      const results =
        'step' in entry
          ? emitStep(emitter, program, entry.step, tensors)
          : emitCall(emitter, entry.call, at(parts, entry.call.callee).name, types, tensors);
      results.forEach((result, offset) => {
        tensors[firstOutput + offset] = { oper: result.oper, index: result.index, type: at(types, offset) };
      });
    };
    for (const step of program.steps) {
      emitter.enter(step.position);
      emit(step);
      yield;
    }
    const outputs = pack(program.outputs.map((number) => at(tensors, number)));
    const pointer = library.TF_GraphToFunction(
      graph,
      name,
      0,
      -1,
      null,
      given.length,
      inputs,
      program.outputs.length,
      outputs,
      null,
      null,
      null,
      status.pointer,
    );
    status.check('Making a function of a graph');
    return { name, pointer };
  } finally {
    library.TF_DeleteGraph(graph);
  }
}

function emitCall(
  emitter: GraphEmitter,
  { inputs, controlInputs: after = [] }: FunctionCall,
  name: string,
  types: readonly StorageDtype[],
  tensors: readonly GraphTensor[],
): GraphTensor[] {
  return emitter.call(
    name,
    inputs.map((number) => at(tensors, number)),
    types,
    after.map((number) => at(tensors, number)),
  );
}

/** Emits one step; its host operands follow its tensor inputs. */
export function emitStep<T>(
  emitter: Emitter<T>,
  program: Pick<Program, 'matmul'>,
  step: Step,
  tensors: readonly T[],
): readonly T[] {
  const operands = step.inputs.map((number) => at(tensors, number));
  const own =
    step.controlInputs === undefined
      ? emitter
      : withControlInputs(
          emitter,
          step.controlInputs.map((number) => at(tensors, number)),
        );
  return emitKernel(own, program, step, operands);
}
