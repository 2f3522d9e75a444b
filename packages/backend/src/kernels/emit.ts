import type { Program, Step } from '../recorder/program.js';
import type { Emitter } from './emitter.js';
import { multiplyingInBfloat16 } from './matmul-policy.js';

/** Emits one step of a program under its policy; the host operands follow the tensor inputs. */
export function emitKernel<T>(
  emitter: Emitter<T>,
  { matmul }: Pick<Program, 'matmul'>,
  { kernel, tensorInputs, parameters }: Step,
  operands: readonly T[],
): readonly T[] {
  const emit = matmul === 'bfloat16' ? multiplyingInBfloat16(emitter) : emitter;
  const results = kernel.tensorflow(emit, operands.slice(0, tensorInputs), operands.slice(tensorInputs), parameters);
  return Array.isArray(results) ? (results as readonly T[]) : [results as T];
}
