import {
  add,
  concat,
  cos,
  log,
  mul,
  neg,
  reshape,
  sin,
  slice,
  sqrt,
  sub,
  tensor,
  tidy,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { sizeOfShape } from '../util/index.js';
import { fusedKernel } from './kernels.js';

/**
 * Returns uniform numbers in [0, 1), generated on the device. The same seed (two 32-bit integers) gives the same bits
 * on every backend (Philox 4×32-10, as in TensorFlow's stateless generator). A different seed does not recompile the
 * graph. Fused kernel: `WhetstoneRandomUniform {; shape, seed}` → [value].
 */
export function randomUniform(shape: readonly number[], seed: readonly [number, number]): Tensor {
  const fused = fusedKernel('WhetstoneRandomUniform', {}, { shape: [...shape], seed: [...seed] });
  if (fused?.[0] !== undefined) return fused[0];
  return tensor(philoxUniform(sizeOfShape(shape), seed), [...shape], 'float32');
}

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

/**
 * Constants of Philox 4×32 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2 and section
 * 4.3).
 */
export const philox = { multipliers: [0xd2511f53, 0xcd9e8d57], weyl: [0x9e3779b9, 0xbb67ae85], rounds: 10 } as const;

/** The key with which TensorFlow's stateless operations derive a key and a counter from a seed. */
export const scrambleKey = [0x3ec8f720, 0x02461e29] as const;

/** Returns the upper 32 bits of the product of two 32-bit numbers. */
function upperProduct(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = aLow * bLow;
  const [first, second] = [aHigh * bLow, aLow * bHigh];
  const middle = (low >>> 16) + (first & 0xffff) + (second & 0xffff);
  return (aHigh * bHigh + (first >>> 16) + (second >>> 16) + (middle >>> 16)) | 0;
}

/**
 * Computes one block of four 32-bit numbers from the counter in `words` and a key. Overwrites `words` with the result.
 */
export function philoxBlock(words: Int32Array, key0: number, key1: number): void {
  const [multiplier0, multiplier1] = philox.multipliers;
  for (let round = 0; round < philox.rounds; round++) {
    const [counter0 = 0, counter1 = 0, counter2 = 0, counter3 = 0] = words;
    words[0] = upperProduct(multiplier1, counter2) ^ counter1 ^ key0;
    words[1] = Math.imul(multiplier1, counter2);
    words[2] = upperProduct(multiplier0, counter0) ^ counter3 ^ key1;
    words[3] = Math.imul(multiplier0, counter0);
    key0 = (key0 + philox.weyl[0]) | 0;
    key1 = (key1 + philox.weyl[1]) | 0;
  }
}

/**
 * Returns `count` uniform numbers in [0, 1) of 23 random bits each, equal to those of
 * `tf.random.stateless_uniform([count], seed)` in TensorFlow.
 */
export function philoxUniform(count: number, [seed0, seed1]: readonly [number, number]): Float32Array {
  // In TensorFlow, a seed consists of two signed 64-bit numbers.
  const words = Int32Array.of(seed0, seed0 < 0 ? -1 : 0, seed1, seed1 < 0 ? -1 : 0);
  philoxBlock(words, ...scrambleKey);
  const [key0 = 0, key1 = 0, counter2 = 0, counter3 = 0] = Int32Array.from(words);
  const values = new Float32Array(count);
  const bits = new Int32Array(values.buffer);
  for (let start = 0; start < count; start += 4) {
    words.set([start / 4, 0, counter2, counter3]);
    philoxBlock(words, key0, key1);
    // The bits become the mantissa of a number in [1, 2).
    for (let index = 0; index < 4 && start + index < count; index++)
      bits[start + index] = ((words[index] ?? 0) & 0x7fffff) | 0x3f800000;
  }
  for (let index = 0; index < count; index++) values[index] = (values[index] ?? 1) - 1;
  return values;
}
