import { customGrad, type Tensor } from '@tensorflow/tfjs-core';

/**
 * Runs `compute` without recording it for gradients, and returns its result as a constant. Intermediate tensors are
 * disposed at once. Without an active tape, it is equivalent to `tf.tidy`.
 */
export function outsideOfTape<T extends Tensor>(compute: () => T): T {
  return customGrad(() => ({ value: compute(), gradFunc: () => [] }))() as T;
}
