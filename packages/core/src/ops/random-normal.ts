import { concat, cos, log, mul, neg, reshape, sin, slice, sqrt, sub, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { randomUniform } from './random-uniform.js';
import { sizeOfShape } from '../util/index.js';

/**
 * Returns normal numbers of mean 0 and standard deviation 1, generated on the device (Box and Muller 1958, "A note on
 * the generation of random normal deviates"). Of 2 · n uniform numbers, the first n give radii and the others angles,
 * for n cosines followed by n sines. The same seed gives the same numbers on every backend, except for the rounding of
 * logarithm, sine and cosine. No number exceeds 5.65, because a uniform number has 23 bits.
 */
export function randomNormal(shape: readonly number[], seed: readonly [number, number]): Tensor {
  return tidy(() => {
    const size = sizeOfShape(shape);
    const half = Math.ceil(size / 2);
    const uniform = randomUniform([2, half], seed);
    const radius = sqrt(mul(neg(log(sub(1, slice(uniform, [0, 0], [1, half])))), 2));
    const angle = mul(slice(uniform, [1, 0], [1, half]), 2 * Math.PI);
    const pairs = reshape(concat([mul(radius, cos(angle)), mul(radius, sin(angle))]), [2 * half]);
    return reshape(slice(pairs, 0, size), [...shape]);
  });
}
