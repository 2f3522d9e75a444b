import { customGrad, type Tensor } from '@tensorflow/tfjs-core';

/**
 * What `compute` makes, as a constant: nothing in it is noted for gradients or kept for them, and what it made on the
 * way is disposed at once. Outside of gradients it is `tf.tidy`.
 */
export function outsideOfTape<T extends Tensor>(compute: () => T): T {
  return customGrad(() => ({ value: compute(), gradFunc: () => [] }))() as T;
}
