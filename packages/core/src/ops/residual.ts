import { add, type Tensor } from '@tensorflow/tfjs-core';
import { customGradient, share } from './custom-gradient.js';

/**
 * Returns `x + branch` of two tensors of the same shape. The gradient of both is that of the sum, so that nothing is
 * saved or recorded for it. The sum of tfjs-core saves both and reshapes twice.
 */
export function addResidual<T extends Tensor>(x: T, branch: T): T {
  return customGradient<T>(
    [x, branch],
    () => ({ value: add(x, branch), saved: [] }),
    (gradient) => [gradient, () => share(gradient)],
  );
}
