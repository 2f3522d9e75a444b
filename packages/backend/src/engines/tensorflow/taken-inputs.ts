import { type Emitter, anyShape, text, type } from '../../kernels/emitter.js';
import type { Kernel } from '../../kernels/kernel.js';
import type { Program } from '../../recorder/program.js';
import type { StorageDtype } from '../../recorder/types.js';

/**
 * Inputs that a function makes its own. A tensor that is handed to a function stays the caller's while the function
 * runs, so no operation can write where it lies, and none of it is freed before the end. A variable can be read and
 * destroyed inside: then the reader alone holds the memory. So one function puts spent inputs into variables, the
 * caller lets go of them, and the function that needs them takes them from there.
 */

/** TensorFlow's name of the variable in which one input of a function waits. */
const variableName = (functionName: string, position: number): string => `${functionName}/input${position}`;

const variable = <T>(emit: Emitter<T>, kind: StorageDtype, name: string): T =>
  emit.op('VarHandleOp', [], { dtype: type(kind), shape: anyShape, shared_name: text(name) });

/** The program that puts its inputs into the variables from which `functionName` takes them. */
export function handOverProgram(program: Program, functionName: string, positions: readonly number[]): Program {
  const inputTypes = positions.map((position) => program.inputTypes[position] ?? 'float32');
  const handOver: Kernel = {
    name: 'HandOver',
    inputs: 'list',
    hasSideEffects: true,
    rule: () => ({ outputs: [] }),
    tensorflow: (emit, inputs) => {
      const done = inputs.map((input, index) => {
        const kind = inputTypes[index] ?? 'float32';
        return emit.op(
          'AssignVariableOp',
          [variable(emit, kind, variableName(functionName, positions[index] ?? -1)), input],
          { dtype: type(kind) },
        );
      });
      // A result, so that there is something to wait for.
      return emit.op('Identity', [emit.constant('int32', [], [positions.length])], {}, done);
    },
  };
  const count = positions.length;
  const step = {
    kernel: handOver,
    parameters: [],
    inputs: positions.map((_, index) => index),
    tensorInputs: count,
    firstOutput: count,
    outputs: 1,
  };
  return {
    name: `${program.name} inputs`,
    matmul: program.matmul,
    concurrent: program.concurrent ?? false,
    inputTypes,
    steps: [step],
    types: [...inputTypes, 'int32'],
    outputs: [count],
  };
}

/** The variable in which one input of `functionName` waits. */
export function waitingInput<T>(emit: Emitter<T>, functionName: string, position: number, kind: StorageDtype): T {
  return variable(emit, kind, variableName(functionName, position));
}

/** What is in a variable, which is gone before anybody uses it. */
export function takeInput<T>(emit: Emitter<T>, handle: T, kind: StorageDtype): T {
  const value = emit.op('ReadVariableOp', [handle], { dtype: type(kind) });
  const destroyed = emit.op('DestroyResourceOp', [handle], {}, [value]);
  return emit.op('Identity', [value], {}, [destroyed]);
}

/** A step that takes inputs over, as a program: these of its inputs are given in the variables in which they wait. */
interface TakingPart {
  readonly program: Program;
  /** Position of the first step that it stands for. */
  readonly first: number;
  readonly inVariables: ReadonlySet<number>;
}

/**
 * Steps that alone need inputs that are taken over. Like ones are one part that is called with the variables, so that
 * TensorFlow takes it in once: an update is one operation for each parameter.
 */
export interface TakingSteps {
  readonly parts: readonly TakingPart[];
  /** Number of its part, by the step's position. */
  readonly partOf: ReadonlyMap<number, number>;
  /** The inputs that they take. */
  readonly inputs: ReadonlySet<number>;
}

/** Finds the steps of a program that take inputs over and are alike. */
export function takingSteps(program: Program, taken: ReadonlySet<number>): TakingSteps {
  if (taken.size === 0) return { parts: [], partOf: new Map(), inputs: taken };
  const uses = new Map<number, number>();
  for (const input of [...program.outputs, ...program.steps.flatMap((step) => step.inputs)])
    uses.set(input, (uses.get(input) ?? 0) + 1);
  const isTaken = (input: number): boolean => taken.has(input) && uses.get(input) === 1;
  const alike = new Map<string, { readonly kernel: Kernel; readonly positions: number[]; readonly part: TakingPart }>();
  program.steps.forEach((step, position) => {
    const { kernel, parameters, inputs, outputs, firstOutput } = step;
    const inVariables = new Set(inputs.flatMap((input, operand) => (isTaken(input) ? [operand] : [])));
    if (kernel.writesInPlace !== true || inVariables.size === 0) return;
    const key = JSON.stringify([
      kernel.name,
      parameters,
      [...inVariables],
      inputs.map((input) => program.types[input]),
    ]);
    const known = alike.get(key);
    if (known?.kernel === kernel) {
      known.positions.push(position);
      return;
    }
    const inputTypes = inputs.map((input) => program.types[input] ?? 'float32');
    const { controlInputs: _, ...alone } = step;
    const part: Program = {
      name: `${program.name} step`,
      matmul: program.matmul,
      inputTypes,
      types: [...inputTypes, ...program.types.slice(firstOutput, firstOutput + outputs)],
      steps: [{ ...alone, inputs: inputs.map((__, operand) => operand), firstOutput: inputs.length }],
      outputs: Array.from({ length: outputs }, (__, output) => inputs.length + output),
    };
    alike.set(key, { kernel, positions: [position], part: { program: part, first: position, inVariables } });
  });
  const repeated = [...alike.values()].filter(({ positions }) => positions.length > 1);
  const partOf = new Map(
    repeated.flatMap(({ positions }, number) => positions.map((position) => [position, number] as const)),
  );
  const inputs = new Set(
    [...partOf.keys()].flatMap((position) => program.steps[position]?.inputs.filter(isTaken) ?? []),
  );
  return { parts: repeated.map(({ part }) => part), partOf, inputs };
}
