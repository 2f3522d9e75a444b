import type { Program, Step } from '../recorder/program.js';
import { cast } from './elementwise.js';
import { type Emitter, type } from './emitter.js';

const products: ReadonlySet<string> = new Set(['MatMul', 'BatchMatMulV2']);

/**
 * Returns an emitter whose products of float32 matrices take their operands in bfloat16. TensorFlow also rounds the
 * product to bfloat16, as XLA does on an accelerator. XLA on a CPU returns it in float32.
 */
function withBfloat16Products<T>(emit: Emitter<T>): Emitter<T> {
  const isRounded = (tensor: T): boolean => emit.typeOf(tensor) === 'bfloat16';
  const round = (tensor: T): T => (isRounded(tensor) ? tensor : emit.op('Cast', [tensor], { DstT: type('bfloat16') }));
  const after = (tensor: T, other: T): T => (isRounded(tensor) ? tensor : (emit.after?.(tensor, other) ?? tensor));
  return {
    op: (name, inputs, attributes, controlInputs) => {
      const operands = inputs as readonly T[];
      if (!products.has(name) || !operands.every((operand) => ['float32', 'bfloat16'].includes(emit.typeOf(operand))))
        return emit.op(name, inputs, attributes, controlInputs);
      const [a, b] = operands as readonly [T, T];
      const isTransposed = attributes?.['transpose_a'] ?? attributes?.['adj_x'];
      // Weights, and operands of a weight's gradient, are rounded again in the backward pass: their rounded copies
      // would otherwise be kept until the end of the step. An operand that several layers share is rounded once.
      const rounded = [
        round(isTransposed?.kind === 'bool' && isTransposed.value ? after(a, b) : a),
        round(after(b, a)),
      ];
      return cast(emit, emit.op(name, rounded, attributes), 'float32');
    },
    ops: (name, inputs, attributes, results) => emit.ops(name, inputs, attributes, results),
    constant: (kind, shape, values) => emit.constant(kind, shape, values),
    typeOf: (tensor) => emit.typeOf(tensor),
    loop: emit.loop?.bind(emit),
    exact: emit,
  };
}

/**
 * Emits one step of a program under the program's matmul policy and returns the step's results.
 *
 * @param operands the tensor inputs, then the host operands
 */
export function emitKernel<T>(
  emitter: Emitter<T>,
  { matmul }: Pick<Program, 'matmul'>,
  { kernel, tensorInputs, parameters }: Step,
  operands: readonly T[],
): readonly T[] {
  const emit = matmul === 'bfloat16' ? withBfloat16Products(emitter) : emitter;
  const results = kernel.tensorflow(emit, operands.slice(0, tensorInputs), operands.slice(tensorInputs), parameters);
  return Array.isArray(results) ? (results as readonly T[]) : [results as T];
}
