import { type Emitter, anyShape, text, type } from '../../kernels/emitter.js';
import type { Kernel } from '../../kernels/kernel.js';
import type { Program } from '../../recorder/program.js';
import type { StorageDtype } from '../../recorder/types.js';

/**
 * Donated inputs: tensors whose memory a function may reuse. The caller of a TensorFlow function owns its arguments
 * while it runs, so no operation may write to them. A variable, however, can be read and destroyed inside a function;
 * then only the reader owns the memory. So a first function stores the donated inputs in variables, the caller releases
 * them, and the function that needs them reads and destroys the variables.
 */

/** Returns TensorFlow's name of the variable that stores one input of a function. */
const variableName = (functionName: string, position: number): string => `${functionName}/input${position}`;

const variable = <T>(emit: Emitter<T>, kind: StorageDtype, name: string): T =>
  emit.op('VarHandleOp', [], { dtype: type(kind), shape: anyShape, shared_name: text(name) });

/** Returns the program that stores its inputs in the variables from which `functionName` reads them. */
export function storeInputsProgram(program: Program, functionName: string, positions: readonly number[]): Program {
  const inputTypes = positions.map((position) => program.inputTypes[position] ?? 'float32');
  const storeInputs: Kernel = {
    name: 'StoreInputs',
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
      // TensorFlow reports completion only through a result.
      return emit.op('Identity', [emit.constant('int32', [], [positions.length])], {}, done);
    },
  };
  const count = positions.length;
  const step = {
    kernel: storeInputs,
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

/** Returns the variable that stores one input of `functionName`. */
export function inputVariable<T>(emit: Emitter<T>, functionName: string, position: number, kind: StorageDtype): T {
  return variable(emit, kind, variableName(functionName, position));
}

/** Returns the tensor in a variable and destroys the variable before the tensor is used. */
export function consumeVariable<T>(emit: Emitter<T>, handle: T, kind: StorageDtype): T {
  const value = emit.op('ReadVariableOp', [handle], { dtype: type(kind) });
  const destroyed = emit.op('DestroyResourceOp', [handle], {}, [value]);
  return emit.op('Identity', [value], {}, [destroyed]);
}

/** A step with donated inputs, as a program. */
interface DonatingStep {
  readonly program: Program;
  /** Position of the first step that it replaces. */
  readonly first: number;
  /** Positions of the inputs that are passed as variables. */
  readonly inVariables: ReadonlySet<number>;
}

/**
 * Equal steps with donated inputs that no other step needs, such as the optimizer's updates of all parameters. They
 * become one function that is called with the variables, so that TensorFlow compiles it once.
 */
export interface DonatingSteps {
  readonly functions: readonly DonatingStep[];
  /** Index of the function, by the step's position. */
  readonly calleeOf: ReadonlyMap<number, number>;
  /** The donated inputs of these steps. */
  readonly inputs: ReadonlySet<number>;
}

/** Returns the repeated steps of a program that donate inputs. */
export function donatingSteps(program: Program, donated: ReadonlySet<number>): DonatingSteps {
  if (donated.size === 0) return { functions: [], calleeOf: new Map(), inputs: donated };
  const uses = new Map<number, number>();
  for (const input of [...program.outputs, ...program.steps.flatMap((step) => step.inputs)])
    uses.set(input, (uses.get(input) ?? 0) + 1);
  const isConsumed = (input: number): boolean => donated.has(input) && uses.get(input) === 1;
  const groups = new Map<
    string,
    { readonly kernel: Kernel; readonly positions: number[]; readonly callee: DonatingStep }
  >();
  program.steps.forEach((step, position) => {
    const { kernel, parameters, inputs, outputs, firstOutput } = step;
    const inVariables = new Set(inputs.flatMap((input, operand) => (isConsumed(input) ? [operand] : [])));
    if (kernel.writesInPlace !== true || inVariables.size === 0) return;
    const key = JSON.stringify([
      kernel.name,
      parameters,
      [...inVariables],
      inputs.map((input) => program.types[input]),
    ]);
    const known = groups.get(key);
    if (known?.kernel === kernel) {
      known.positions.push(position);
      return;
    }
    const inputTypes = inputs.map((input) => program.types[input] ?? 'float32');
    const { controlInputs: _, ...alone } = step;
    const single: Program = {
      name: `${program.name} step`,
      matmul: program.matmul,
      inputTypes,
      types: [...inputTypes, ...program.types.slice(firstOutput, firstOutput + outputs)],
      steps: [{ ...alone, inputs: inputs.map((__, operand) => operand), firstOutput: inputs.length }],
      outputs: Array.from({ length: outputs }, (__, output) => inputs.length + output),
    };
    groups.set(key, { kernel, positions: [position], callee: { program: single, first: position, inVariables } });
  });
  const repeated = [...groups.values()].filter(({ positions }) => positions.length > 1);
  const calleeOf = new Map(
    repeated.flatMap(({ positions }, callee) => positions.map((position) => [position, callee] as const)),
  );
  const inputs = new Set(
    [...calleeOf.keys()].flatMap((position) => program.steps[position]?.inputs.filter(isConsumed) ?? []),
  );
  return { functions: repeated.map(({ callee }) => callee), calleeOf, inputs };
}
