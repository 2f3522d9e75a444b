import { type Emitter, withControlInputs } from '../../kernels/emitter.js';
import { extractFunctions, type FunctionCall, type CallOrStep } from '../../recorder/function-extraction.js';
import type { Program, Step } from '../../recorder/program.js';
import type { StorageDtype } from '../../recorder/types.js';
import type { Describe } from '../engine.js';
import { at, GraphEmitter, pack, trueAttribute, type GraphTensor } from './graph-emitter.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import type { Loop } from './loops.js';
import { calleeName, type Status } from './status.js';
import { consumeVariable, donatingSteps, inputVariable } from './donated-inputs.js';
import { emitKernel } from '../../kernels/matmul-policy.js';

/** A TF_Function and its name. */
export interface BuiltFunction {
  readonly name: string;
  readonly pointer: Pointer;
}

/**
 * Builds the TF_Functions of a program. It yields after each operation, so that the caller can pause. The first
 * function is the program and has the name `name`. The others are the functions that it calls for repeated segments,
 * and loops. The caller deletes them.
 *
 * @param donated positions of inputs that are read from variables instead of arguments
 */
export function* buildFunctions(
  library: TensorflowLibrary,
  status: Status,
  program: Program,
  name: string,
  describe: Describe,
  donated: ReadonlySet<number> = new Set(),
): Generator<void, readonly BuiltFunction[]> {
  const extracted = extractFunctions(program);
  const donating = donatingSteps(program, donated);
  const callees: BuiltFunction[] = [];
  const loops = new Map<string, Loop>();
  let main: BuiltFunction | null = null;
  try {
    for (const [number, callee] of (extracted?.functions ?? []).entries()) {
      const first = extracted?.steps.find((step) => 'call' in step && step.call.callee === number)?.position ?? 0;
      const describeStep: Describe = (step) => describe(first + step);
      callees.push(
        yield* buildCallee(library, status, callee, calleeName(name, callees.length), describeStep, { loops }),
      );
    }
    const extractedCallees = callees.length;
    for (const { program: callee, first, inVariables } of donating.functions) {
      const describeStep: Describe = (step) => describe(first + step);
      callees.push(
        yield* buildCallee(library, status, callee, calleeName(name, callees.length), describeStep, {
          loops,
          inVariables,
        }),
      );
    }
    yield;
    const steps = (extracted?.steps ?? program.steps.map((step, position) => ({ position, step }))).map(
      (entry): CallOrStep => {
        const callee = donating.calleeOf.get(entry.position);
        return callee === undefined || 'call' in entry
          ? entry
          : { position: entry.position, call: { ...entry.step, callee: extractedCallees + callee } };
      },
    );
    main = yield* buildFunction(library, status, { ...program, ...extracted, steps }, name, describe, {
      loops,
      callees,
      donated,
      passedAsVariables: donating.inputs,
    });
    return [main, ...callees, ...loops.values()];
  } finally {
    if (main === null) for (const { pointer } of [...callees, ...loops.values()]) library.TF_DeleteFunction(pointer);
  }
}

/** Builds a function that the program's function calls. */
function* buildCallee(
  library: TensorflowLibrary,
  status: Status,
  callee: Program,
  name: string,
  describe: Describe,
  options: FunctionOptions,
): Generator<void, BuiltFunction> {
  const built = yield* buildFunction(
    library,
    status,
    { ...callee, steps: callee.steps.map((step, position) => ({ position, step })) },
    name,
    describe,
    options,
  );
  // Without it TensorFlow inlines the function.
  library.TF_FunctionSetAttrValueProto(built.pointer, '_noinline', trueAttribute, trueAttribute.length, status.pointer);
  status.check('Marking a function');
  return built;
}

interface FunctionOptions {
  /** The program's loops so far, by name. */
  readonly loops: Map<string, Loop>;
  /** The functions that it calls. */
  readonly callees?: readonly BuiltFunction[];
  /** Positions of inputs that are read from variables instead of arguments. */
  readonly donated?: ReadonlySet<number>;
  /** Donated inputs whose variables are passed to a called function. */
  readonly passedAsVariables?: ReadonlySet<number>;
  /** Positions of arguments that are variables. */
  readonly inVariables?: ReadonlySet<number>;
}

function* buildFunction(
  library: TensorflowLibrary,
  status: Status,
  program: Omit<Program, 'steps'> & { readonly steps: readonly CallOrStep[] },
  name: string,
  describe: Describe,
  { loops, callees = [], donated = new Set(), passedAsVariables = new Set(), inVariables = new Set() }: FunctionOptions,
): Generator<void, BuiltFunction> {
  const graph = library.TF_NewGraph();
  try {
    for (const { pointer } of callees) {
      library.TF_GraphCopyFunction(graph, pointer, 0n, status.pointer);
      status.check('Adding a function to a graph');
    }
    const emitter = new GraphEmitter(library, status, graph, describe, loops);
    const args: GraphTensor[] = [];
    const tensors = program.inputTypes.map((type, position): GraphTensor => {
      emitter.enterInput(position);
      if (!donated.has(position)) {
        const argument = emitter.placeholder(position, type, inVariables.has(position));
        args.push(argument);
        return inVariables.has(position) ? { ...consumeVariable(emitter, argument, type), type } : argument;
      }
      const variable = inputVariable(emitter, name, position, type);
      return passedAsVariables.has(position)
        ? { ...variable, type, isVariable: true }
        : { ...consumeVariable(emitter, variable, type), type };
    });
    const inputs = pack(args);
    const emit = (entry: CallOrStep): void => {
      const { firstOutput, outputs } = 'step' in entry ? entry.step : entry.call;
      const types = program.types.slice(firstOutput, firstOutput + outputs);
      const results =
        'step' in entry
          ? emitStep(emitter, program, entry.step, tensors)
          : emitCall(emitter, entry.call, at(callees, entry.call.callee).name, types, tensors);
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
      args.length,
      inputs,
      program.outputs.length,
      outputs,
      null,
      null,
      null,
      status.pointer,
    );
    status.check('Building a function from a graph');
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

/** Emits one step and returns its results. Its host operands follow its tensor inputs. */
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
