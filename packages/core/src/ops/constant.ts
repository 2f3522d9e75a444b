import { fill, keep, scalar, type Scalar } from '@tensorflow/tfjs-core';

const scalarShape: number[] = [];

/**
 * Returns a scalar that is part of the graph instead of an input from the host. A recording backend compiles it in and
 * uploads nothing. Use it for numbers that never change (an epsilon), not for others (a learning rate).
 */
export function constant(value: number, dtype: 'float32' | 'int32' = 'float32'): Scalar {
  return fill(scalarShape, value, dtype) as Scalar;
}

/** Returns a number as a scalar tensor. Equal numbers share one tensor, which belongs to the object. */
export interface Scalars {
  (value: number): Scalar;
  dispose(): void;
}

/** Creates scalar tensors on demand. They are inputs of a recorded graph: a new value does not recompile it. */
export function createScalars(): Scalars {
  const made = new Map<number, Scalar>();
  const get = (value: number): Scalar => {
    const found = made.get(value) ?? keep(scalar(value));
    made.set(value, found);
    return found;
  };
  return Object.assign(get, {
    dispose: () => {
      for (const tensor of made.values()) tensor.dispose();
    },
  });
}
