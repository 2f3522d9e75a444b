import { add, type Tensor } from '@tensorflow/tfjs-core';
import { customGradient, share } from './custom-gradient.js';

/**
 * `x + branch` of one shape. Its gradient is that of the sum for both: nothing is saved, nothing is recorded for it,
 * where tfjs-core's own sum saves both and reshapes twice.
 */
export function addResidual<T extends Tensor>(x: T, branch: T): T {
  return customGradient<T>(
    [x, branch],
    () => ({ value: add(x, branch), saved: [] }),
    (gradient) => [gradient, () => share(gradient)],
  );
}
