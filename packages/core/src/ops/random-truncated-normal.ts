import { add, log, mul, neg, sub, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { randomUniform } from './random-uniform.js';

/** erf(√2): the share of a normal distribution within two standard deviations. */
const WITHIN_TWO = 0.954_499_736_103_641_6;

/**
 * Coefficients of erf⁻¹(x) / x in w − 2.5 for w = −ln((1 − x)(1 + x)) < 5, highest first (Giles 2010, "Approximating
 * the erfinv function", single precision).
 */
const inverseErf = [
  2.810_226_36e-8, 3.432_739_39e-7, -3.523_387_7e-6, -4.391_506_54e-6, 0.000_218_580_87, -0.001_253_725_03,
  -0.004_177_681_64, 0.246_640_727, 1.501_409_41,
] as const;

/**
 * Returns normal numbers of mean 0 and standard deviation 1, truncated to [−2, 2], generated on the device by inversion
 * of one uniform number each. The same seed gives the same numbers on every backend, except for rounding.
 */
export function randomTruncatedNormal(shape: readonly number[], seed: readonly [number, number]): Tensor {
  return tidy(() => {
    // The centres of the 2²³ steps, for a symmetric distribution: in (−1, 1), then scaled to the truncated range.
    const x: Tensor = mul(add(mul(randomUniform(shape, seed), 2), 2 ** -23 - 1), WITHIN_TWO);
    const w = sub(neg(log(mul(sub(1, x), add(1, x)))), 2.5);
    const [first, second, ...rest] = inverseErf;
    const ratio = rest.reduce<Tensor>((sum, coefficient) => add(mul(sum, w), coefficient), add(mul(w, first), second));
    return mul(mul(ratio, x), Math.SQRT2);
  });
}
