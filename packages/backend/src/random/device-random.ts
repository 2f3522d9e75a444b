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
import { philoxBlock, randomNormal, randomTruncatedNormal, randomUniform } from '@whetstone/core/ops';

/**
 * A stream of random tensors made where tfjs-core's current backend computes; nothing but two numbers a draw goes to
 * the device. The same seed gives the same draws in the same order: `uniform` in [0, 1), `bernoulli` and the masks of
 * `dropout` to the bit on every backend, what is computed from them within rounding.
 */
export interface DeviceRandom {
  /** Float32 in [from, below). */
  uniform(shape: readonly number[], options?: { readonly from?: number; readonly below?: number }): Tensor;
  /** Float32 (Box–Muller). */
  normal(shape: readonly number[], options?: { readonly mean?: number; readonly deviation?: number }): Tensor;
  /** Float32, none farther than two deviations from the mean. */
  truncatedNormal(shape: readonly number[], options?: { readonly mean?: number; readonly deviation?: number }): Tensor;
  /** Bool: true with a probability. */
  bernoulli(shape: readonly number[], probability: number): Tensor;
  /**
   * x with each number zero with probability `rate`, the others divided by 1 − rate; differentiable in x. `maskShape`
   * is broadcast to x's.
   */
  dropout<T extends Tensor>(x: T, rate: number, maskShape?: readonly number[]): T;
  /** Int32 [rows, count]: classes drawn with replacement, by the softmax of logits [rows, classes]. */
  categorical(logits: Tensor2D, count: number): Tensor2D;
  /** Where the stream is: plain data for a checkpoint. */
  saveState(): readonly number[];
  /** Goes on where {@link saveState} was. Throws a RangeError at what it did not give. */
  loadState(state: readonly number[]): void;
}

const words = (whole: number): readonly [number, number] => [whole >>> 0, Math.floor(whole / 2 ** 32)];

/** One key for each draw: two words of the block that Philox makes of the draw's number under the seed. */
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
      `${name} has to be a number from 0 ${isBelow ? 'up to, not including, 1' : 'to 1'}, not ${value}.`,
    );
}

/** A stream from a seed: a whole number from 0 to 2⁵³ − 1. Streams of different seeds have nothing in common. */
export function createDeviceRandom(seed: number): DeviceRandom {
  if (!isCount(seed))
    throw new RangeError(
      `The seed of a random stream has to be a whole number from 0 to 2^53 - 1, not ${String(seed)}.`,
    );
  let state = { seed, draw: 0 };
  const next = (): readonly [number, number] => keyOf(state.seed, state.draw++);
  const moved = (values: Tensor, mean: number, deviation: number): Tensor => {
    const spread = deviation === 1 ? values : mul(values, deviation);
    return mean === 0 ? spread : add(spread, mean);
  };
  return {
    uniform: (shape, { from = 0, below = 1 } = {}) =>
      tidy(() => moved(randomUniform(shape, next()), from, below - from)),
    normal: (shape, { mean = 0, deviation = 1 } = {}) =>
      tidy(() => moved(randomNormal(shape, next()), mean, deviation)),
    truncatedNormal: (shape, { mean = 0, deviation = 1 } = {}) =>
      tidy(() => moved(randomTruncatedNormal(shape, next()), mean, deviation)),
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
        const running = cumsum(softmax(logits), 1);
        const reached = mul(randomUniform([rows, count], next()), max(running, 1, true));
        return minimum(upperBound(running, reached), scalar(classes - 1, 'int32')) as Tensor2D;
      }),
    saveState: () => [state.seed, state.draw],
    loadState: ([savedSeed, draw, ...rest]) => {
      if (!isCount(savedSeed) || !isCount(draw) || rest.length > 0)
        throw new RangeError(`${JSON.stringify([savedSeed, draw, ...rest])} is no state of a random stream.`);
      state = { seed: savedSeed, draw };
    },
  };
}
