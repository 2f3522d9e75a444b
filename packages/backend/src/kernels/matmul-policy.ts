import { type } from './attributes.js';
import { cast } from './elementwise.js';
import type { Emitter } from './emitter.js';

/** In which numbers matrices are multiplied: `bfloat16` rounds both operands to it and adds up in float32. */
export type MatmulPolicy = 'float32' | 'bfloat16';

const products: ReadonlySet<string> = new Set(['MatMul', 'BatchMatMulV2']);

/**
 * An emitter whose products of float32 matrices take their operands in bfloat16. Operands that are bfloat16 already
 * stay as they are. TensorFlow rounds the products to bfloat16 too, and so does XLA on an accelerator; on a processor
 * it gives them in float32.
 */
export function multiplyingInBfloat16<T>(emit: Emitter<T>): Emitter<T> {
  const isRounded = (tensor: T): boolean => emit.typeOf(tensor) === 'bfloat16';
  const round = (tensor: T): T => (isRounded(tensor) ? tensor : emit.op('Cast', [tensor], { DstT: type('bfloat16') }));
  const later = (tensor: T, other: T): T => (isRounded(tensor) ? tensor : (emit.after?.(tensor, other) ?? tensor));
  return {
    op: (name, inputs, attributes, after) => {
      const operands = inputs as readonly T[];
      if (!products.has(name) || !operands.every((operand) => ['float32', 'bfloat16'].includes(emit.typeOf(operand))))
        return emit.op(name, inputs, attributes, after);
      const [a, b] = operands as readonly [T, T];
      const isTurned = attributes?.['transpose_a'] ?? attributes?.['adj_x'];
      // A weight is rounded anew in the backward pass, and so is what a weight's gradient is made of: their copies
      // would be kept all the step long. What several layers read is rounded once for them.
      const rounded = [round(isTurned?.kind === 'bool' && isTurned.value ? later(a, b) : a), round(later(b, a))];
      return cast(emit, emit.op(name, rounded, attributes), 'float32');
    },
    ops: (name, inputs, attributes, results) => emit.ops(name, inputs, attributes, results),
    constant: (kind, shape, values) => emit.constant(kind, shape, values),
    typeOf: (tensor) => emit.typeOf(tensor),
    ...(emit.loop === undefined ? {} : { loop: emit.loop.bind(emit) }),
    exact: emit,
  };
}
