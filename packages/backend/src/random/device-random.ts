import {
  add,
  cast,
  cumsum,
  div,
  greaterEqual,
  less,
  max,
  minimum,
  mul,
  scalar,
  softmax,
  tidy,
  upperBound,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { randomNormal, randomTruncatedNormal, randomUniform } from '@whetstone/core/ops';
import { philoxBlock } from '@whetstone/core/ops/internal';

/**
 * A stream of random tensors that tfjs-core's current backend computes. Each draw uploads only two numbers. The same
 * seed gives the same draws in the same order. `uniform` in [0, 1), `bernoulli` and masks of `dropout` have the same
 * bits on every backend; other draws differ by rounding.
 */
export interface DeviceRandom {
  /** Float32 in [from, below). */
  uniform(shape: readonly number[], options?: { readonly from?: number; readonly below?: number }): Tensor;
  /** Float32 (Box–Muller). */
  normal(shape: readonly number[], options?: { readonly mean?: number; readonly deviation?: number }): Tensor;
  /** Float32, within two deviations of the mean. */
  truncatedNormal(shape: readonly number[], options?: { readonly mean?: number; readonly deviation?: number }): Tensor;
  /** Bool, true with the given probability. */
  bernoulli(shape: readonly number[], probability: number): Tensor;
  /**
   * Sets each number of x to zero with probability `rate` and divides the others by 1 − rate. Differentiable in x.
   * `maskShape` is broadcast to the shape of x.
   */
  dropout<T extends Tensor>(x: T, rate: number, maskShape?: readonly number[]): T;
  /** Draws classes with replacement by the softmax of logits [rows, classes]. Returns int32 [rows, count]. */
  categorical(logits: Tensor2D, count: number): Tensor2D;
  /** Returns the state of the stream as plain data for a checkpoint. */
  saveState(): readonly number[];
  /** Continues from a state of {@link saveState}. Throws a RangeError for anything else. */
  loadState(state: readonly number[]): void;
}

const words = (whole: number): readonly [number, number] => [whole >>> 0, Math.floor(whole / 2 ** 32)];

/** Returns the key of a draw: two words of the Philox block for the draw's number under the seed. */
function keyOf(seed: number, draw: number): readonly [number, number] {
  const block = Int32Array.of(...words(draw), 0, 0);
  philoxBlock(block, ...words(seed));
  return [block[0] ?? 0, block[1] ?? 0];
}

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

/** Throws a RangeError unless the value lies in [0, 1], or [0, 1). */
function checkProbability(name: string, value: number, isBelow: boolean): void {
  if (!(value >= 0 && (isBelow ? value < 1 : value <= 1)))
    throw new RangeError(
      `${name} must be a number from 0 ${isBelow ? 'up to, not including, 1' : 'to 1'}, but is ${value}.`,
    );
}

/**
 * Returns a stream for a seed, a whole number from 0 to 2⁵³ − 1. Streams of different seeds are independent.
 *
 * @throws `RangeError` if the seed is not such a number
 */
export function createDeviceRandom(seed: number): DeviceRandom {
  if (!isCount(seed))
    throw new RangeError(
      `The seed of a random stream must be a whole number from 0 to 2^53 - 1, but is ${String(seed)}.`,
    );
  let state = { seed, draw: 0 };
  const next = (): readonly [number, number] => keyOf(state.seed, state.draw++);
  const scaleAndShift = (values: Tensor, scale: number, shift: number): Tensor => {
    const scaled = scale === 1 ? values : mul(values, scale);
    return shift === 0 ? scaled : add(scaled, shift);
  };
  return {
    uniform: (shape, { from = 0, below = 1 } = {}) =>
      tidy(() => scaleAndShift(randomUniform(shape, next()), below - from, from)),
    normal: (shape, { mean = 0, deviation = 1 } = {}) =>
      tidy(() => scaleAndShift(randomNormal(shape, next()), deviation, mean)),
    truncatedNormal: (shape, { mean = 0, deviation = 1 } = {}) =>
      tidy(() => scaleAndShift(randomTruncatedNormal(shape, next()), deviation, mean)),
    bernoulli: (shape, probability) => {
      checkProbability('The probability', probability, false);
      return tidy(() => less(randomUniform(shape, next()), probability));
    },
    dropout: <T extends Tensor>(x: T, rate: number, maskShape: readonly number[] = x.shape): T => {
      checkProbability('The rate', rate, true);
      return tidy(() => mul(x, div(cast(greaterEqual(randomUniform(maskShape, next()), rate), 'float32'), 1 - rate)));
    },
    categorical: (logits, count) =>
      tidy(() => {
        const [rows, classes] = logits.shape;
        const cumulative = cumsum(softmax(logits), 1);
        const thresholds = mul(randomUniform([rows, count], next()), max(cumulative, 1, true));
        return minimum(upperBound(cumulative, thresholds), scalar(classes - 1, 'int32')) as Tensor2D;
      }),
    saveState: () => [state.seed, state.draw],
    loadState: ([savedSeed, draw, ...rest]) => {
      if (!isCount(savedSeed) || !isCount(draw) || rest.length > 0)
        throw new RangeError(`${JSON.stringify([savedSeed, draw, ...rest])} is not a state of a random stream.`);
      state = { seed: savedSeed, draw };
    },
  };
}
