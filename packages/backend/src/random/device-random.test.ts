import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { philoxBlock, philoxUniform } from '@whetstone/core/ops/internal';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';
import { resolveBackend } from '../resolve.js';
import { createDeviceRandom, type DeviceRandom } from './device-random.js';

// Expected values come from the same formulas in double precision, applied to uniform numbers of Philox. The known
// answers of Philox are in philox.test.ts.

const backends = [
  ['cpu', true, () => resolveBackend({ name: 'cpu', threads: null })],
  ['wasm', true, () => resolveBackend({ name: 'wasm', threads: 1 })],
  ['tensorflow', libraryFolder !== null, () => startBackend()],
  ['xla', xlaPlugin !== null, () => startXlaBackend()],
] as const;

/** Returns the uniform numbers of a stream's draw. */
function uniforms(seed: number, draw: number, count: number): Float32Array {
  const words = Int32Array.of(draw, 0, 0, 0);
  philoxBlock(words, seed | 0, Math.floor(seed / 2 ** 32));
  return philoxUniform(count, [words[0] ?? 0, words[1] ?? 0]);
}

/** Returns erf(x) by its Maclaurin series. */
function erf(x: number): number {
  let [sum, term] = [x, x];
  for (let n = 1; n < 80; n++) sum += (term *= -(x * x) / n) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const seed = 2 ** 40 + 7;

/** Returns the result of a draw and checks that no tensor leaks. */
function read(draw: (random: DeviceRandom) => tf.Tensor): {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly values: number[];
} {
  const before = tf.memory().numTensors;
  const drawn = draw(createDeviceRandom(seed));
  const values = Array.from(drawn.dataSync(), Number);
  const { shape, dtype } = drawn;
  drawn.dispose();
  expect(tf.memory().numTensors).toBe(before);
  return { shape, dtype, values };
}

const close = (found: readonly number[], expected: readonly number[], tolerance: number): void => {
  expect(found.length).toBe(expected.length);
  found.forEach((value, index) =>
    expect(Math.abs(value - (expected[index] ?? NaN)), `${index}: ${value} for ${expected[index]}`).toBeLessThanOrEqual(
      tolerance,
    ),
  );
};

for (const [backend, present, start] of backends) {
  describe.skipIf(!present)(`random tensors on ${backend}`, () => {
    beforeAll(async () => void (await start()));

    test('uniform: the bits of Philox, scaled and shifted', () => {
      const expected = Array.from(uniforms(seed, 0, 15));
      expect(read((random) => random.uniform([3, 5]))).toEqual({ shape: [3, 5], dtype: 'float32', values: expected });
      close(
        read((random) => random.uniform([15], { from: -2, below: 3 })).values,
        expected.map((value) => 5 * value - 2),
        1e-6,
      );
    });

    test('normal: the Box–Muller transform, in pairs', () => {
      const u = uniforms(seed, 0, 8);
      const radius = (index: number): number => Math.sqrt(-2 * Math.log(1 - (u[index] ?? NaN)));
      const angle = (index: number): number => 2 * Math.PI * (u[4 + index] ?? NaN);
      const expected = [0, 1, 2, 3]
        .map((index) => radius(index) * Math.cos(angle(index)))
        .concat([0, 1, 2].map((index) => radius(index) * Math.sin(angle(index))));
      const found = read((random) => random.normal([7, 1]));
      expect(found.shape).toEqual([7, 1]);
      close(found.values, expected, 3e-6);
      close(
        read((random) => random.normal([7], { mean: 10, deviation: 0.5 })).values,
        expected.map((value) => 10 + value / 2),
        4e-6,
      );
    });

    test('truncated normal: the cumulative probability of each number is its uniform number', () => {
      const { values } = read((random) => random.truncatedNormal([500]));
      expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(2);
      close(
        values.map((value) => 0.5 + erf(value / Math.SQRT2) / erf(Math.SQRT2) / 2),
        Array.from(uniforms(seed, 0, 500), (u) => u + 2 ** -24),
        1e-6,
      );
    });

    test('bernoulli: true below its probability', () => {
      expect(read((random) => random.bernoulli([40], 0.3))).toEqual({
        shape: [40],
        dtype: 'bool',
        values: Array.from(uniforms(seed, 0, 40), (u) => Number(u < Math.fround(0.3))),
      });
      expect(read((random) => random.bernoulli([40], 0)).values).toEqual(Array.from({ length: 40 }, () => 0));
      expect(read((random) => random.bernoulli([40], 1)).values).toEqual(Array.from({ length: 40 }, () => 1));
    });

    test('dropout: zeros and a gain that keeps the mean; the gradient is the mask', () => {
      const mask = Array.from(uniforms(seed, 0, 6), (u) => (u < Math.fround(0.4) ? 0 : 1 / 0.6));
      const x = tf.tensor2d([
        [1, 2],
        [3, 4],
        [5, 6],
      ]);
      close(
        read((random) => random.dropout(x, 0.4)).values,
        mask.map((gain, index) => gain * (index + 1)),
        1e-5,
      );
      close(read((random) => tf.tidy(() => tf.grad((input) => random.dropout(input, 0.4))(x))).values, mask, 1e-6);
      // One mask number per row.
      const rows = Array.from(uniforms(seed, 0, 3), (u) => (u < Math.fround(0.4) ? 0 : 1 / 0.6));
      close(
        read((random) => random.dropout(x, 0.4, [3, 1])).values,
        [1, 2, 3, 4, 5, 6].map((value, index) => value * (rows[index >> 1] ?? NaN)),
        1e-5,
      );
      x.dispose();
    });

    test('categorical: the first class whose cumulative probability exceeds a uniform number', () => {
      const probabilities = [
        [0.1, 0, 0.6, 0.3],
        [0.25, 0.25, 0.25, 0.25],
      ];
      const logits = tf.tensor2d(probabilities.map((row) => row.map((p) => Math.max(-100, Math.log(p)))));
      const u = uniforms(seed, 0, 2 * 50);
      const expected = probabilities.flatMap((row, r) =>
        Array.from({ length: 50 }, (_, index) => {
          let running = 0;
          return row.findIndex((p) => (running += p) > (u[r * 50 + index] ?? NaN));
        }),
      );
      expect(read((random) => random.categorical(logits, 50))).toEqual({
        shape: [2, 50],
        dtype: 'int32',
        values: expected,
      });
      logits.dispose();
    });

    test('draws differ, and a saved stream continues where it was', () => {
      const random = createDeviceRandom(seed);
      const draw = (): number[] => tf.tidy(() => Array.from(random.uniform([9]).dataSync()));
      const [first, second] = [draw(), draw()];
      expect(second).toEqual(Array.from(uniforms(seed, 1, 9)));
      expect(second).not.toEqual(first);
      const other = createDeviceRandom(0);
      other.loadState(random.saveState());
      const third = draw();
      expect(tf.tidy(() => Array.from(other.uniform([9]).dataSync()))).toEqual(third);
      expect(third).toEqual(Array.from(uniforms(seed, 2, 9)));
    });
  });
}

for (const [backend, present, start] of backends.slice(2)) {
  describe.skipIf(!present)(`tf.multinomial on ${backend}`, () => {
    test('draws the first class whose cumulative probability exceeds a uniform number of Philox', async () => {
      await start();
      const logits = tf.tidy(() =>
        tf.log(
          tf.tensor2d([
            [0.1, 0.2, 0.7],
            [1, 0, 0],
          ]),
        ),
      );
      const draw = (from: number): number[] =>
        tf.tidy(() => Array.from(tf.multinomial(logits as tf.Tensor2D, 4000, from).dataSync()));
      const found = draw(3);
      // The standard error of a share of 4,000 draws is at most 0.008.
      for (const [value, share] of [0.1, 0.2, 0.7].entries())
        expect(Math.abs(found.slice(0, 4000).filter((one) => one === value).length / 4000 - share)).toBeLessThan(0.03);
      expect(new Set(found.slice(4000))).toEqual(new Set([0]));
      expect(draw(3)).toEqual(found);
      expect(draw(4)).not.toEqual(found);
      // The two words of the float64 seed are the key of Philox.
      const [low = 0, high = 0] = new Int32Array(Float64Array.of(3).buffer);
      // float32 sums may round to the other side of a uniform number, which is rare.
      const expected = Array.from(philoxUniform(8000, [low, high]).subarray(0, 4000), (u) =>
        [0.1, 0.3, 1].findIndex((running) => u < running),
      );
      expect(found.slice(0, 4000).filter((value, index) => value === expected[index]).length).toBeGreaterThanOrEqual(
        3998,
      );
      logits.dispose();
    });
  });
}

test('invalid seeds, probabilities and states throw', () => {
  expect(() => createDeviceRandom(-1)).toThrow(/seed.*-1/);
  expect(() => createDeviceRandom(0.5)).toThrow(RangeError);
  const random = createDeviceRandom(1);
  expect(() => random.bernoulli([1], 1.5)).toThrow(/probability.*1\.5/);
  expect(() => random.dropout(tf.scalar(1), 1)).toThrow(/rate.*not including/);
  expect(() => random.loadState([1, 2, 3])).toThrow(/not a state/);
});
