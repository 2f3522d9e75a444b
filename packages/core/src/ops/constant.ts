import { fill, type Scalar } from '@tensorflow/tfjs-core';

const scalarShape: number[] = [];

/**
 * Returns a scalar that is part of the graph instead of an input from the host. A recording backend compiles it in and
 * uploads nothing. Use it for numbers that never change (an epsilon), not for others (a learning rate).
 */
export function constant(value: number, dtype: 'float32' | 'int32' = 'float32'): Scalar {
  return fill(scalarShape, value, dtype) as Scalar;
}
