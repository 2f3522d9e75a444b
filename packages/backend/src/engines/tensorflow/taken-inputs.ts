import { anyShape, text, type } from '../../kernels/attributes.js';
import type { Emitter } from '../../kernels/emitter.js';
import type { Kernel } from '../../kernels/kernel.js';
import type { Program } from '../../recorder/program.js';
import type { PhysicalType } from '../../recorder/types.js';

/**
 * Inputs that a function makes its own. A tensor that is handed to a function stays the caller's while the function runs, so no operation can write where it lies, and
 * none of it is freed before the end. A variable can be read and destroyed inside: then the reader alone holds the memory. So one function puts spent inputs into
 * variables, the caller lets go of them, and the function that needs them takes them from there.
 */

/** TensorFlow's name of the variable in which one input of a function waits. */
const variableName = (functionName: string, position: number): string => `${functionName}/input${position}`;

const variable = <T>(emit: Emitter<T>, kind: PhysicalType, name: string): T => emit.op('VarHandleOp', [], { dtype: type(kind), shape: anyShape, shared_name: text(name) });

/** The program that puts its inputs into the variables from which `functionName` takes them. */
export function handOverProgram(program: Program, functionName: string, positions: readonly number[]): Program {
  const inputTypes = positions.map((position) => program.inputTypes[position] ?? 'float32');
  const handOver: Kernel = {
    name: 'HandOver',
    inputs: 'list',
    hasEffects: true,
    rule: () => ({ outputs: [] }),
    tensorflow: (emit, inputs) => {
      const done = inputs.map((input, index) => {
        const kind = inputTypes[index] ?? 'float32';
        return emit.op('AssignVariableOp', [variable(emit, kind, variableName(functionName, positions[index] ?? -1)), input], { dtype: type(kind) });
      });
      // A result, so that there is something to wait for.
      return emit.op('Identity', [emit.constant('int32', [], [positions.length])], {}, done);
    },
  };
  const count = positions.length;
  const step = { kernel: handOver, parameters: [], inputs: positions.map((_, index) => index), tensorInputs: count, firstOutput: count, outputs: 1 };
  return { name: `${program.name} inputs`, matmul: program.matmul, sideBySide: program.sideBySide ?? false, inputTypes, steps: [step], types: [...inputTypes, 'int32'], outputs: [count] };
}

/** One input of `functionName` out of its variable, which is gone before anybody uses what was in it. */
export function takeInput<T>(emit: Emitter<T>, functionName: string, position: number, kind: PhysicalType): T {
  const handle = variable(emit, kind, variableName(functionName, position));
  const value = emit.op('ReadVariableOp', [handle], { dtype: type(kind) });
  const destroyed = emit.op('DestroyResourceOp', [handle], {}, [value]);
  return emit.op('Identity', [value], {}, [destroyed]);
}
