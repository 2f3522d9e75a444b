import { fill, type Scalar } from '@tensorflow/tfjs-core';

const scalarShape: number[] = [];

/**
 * A scalar that is part of the graph instead of an input from the host: a backend that records compiles it in, and
 * nothing is uploaded. Use it for numbers that never change (an epsilon), not for those that do (a learning rate).
 */
export function constant(value: number, dtype: 'float32' | 'int32' = 'float32'): Scalar {
  return fill(scalarShape, value, dtype) as Scalar;
}
