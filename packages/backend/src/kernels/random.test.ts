import * as tf from '@tensorflow/tfjs-core';
import { randomUniform } from '@whetstone/core/ops';
import { philoxUniform } from '@whetstone/core/ops/internal';
import { sizeOfShape } from '@whetstone/core/util';
import { describe, expect, test } from 'vitest';
import { engines } from '../test-support.js';
import type { WhetstoneBackend } from '../recorder/backend.js';

// TensorFlow's stateless generator is the reference: host and XLA must return its bits.

const seeds: readonly (readonly [number, number])[] = [
  [0, 0],
  [1, 2],
  [-1, 2 ** 31 - 1],
  [123_456_789, -(2 ** 31)],
];
const shapes = [[1], [7], [3, 5], [64, 33]];

for (const { engine, missing, start } of engines) {
  describe.skipIf(missing)(`random numbers on ${engine}`, () => {
    const read = (shape: readonly number[], seed: readonly [number, number]): Float32Array => {
      const drawn = randomUniform(shape, seed);
      const values = drawn.dataSync<'float32'>();
      drawn.dispose();
      return values;
    };

    test('host and device return the same bits for every seed and shape', async () => {
      await start();
      for (const seed of seeds)
        for (const shape of shapes)
          expect(read(shape, seed), `${shape.join()} ${seed.join()}`).toEqual(philoxUniform(sizeOfShape(shape), seed));
    });

    test('a new seed compiles nothing, and only the seed is uploaded', async () => {
      const backend: WhetstoneBackend = await start();
      const draw = (seed: readonly [number, number]): number =>
        tf.tidy(() => {
          let value: tf.Tensor = randomUniform([1000, 100], seed);
          for (let index = 0; index < 30; index++) value = tf.mul(value, 1);
          return tf.mean(value).dataSync()[0] ?? NaN;
        });
      for (let round = 0; round < 5; round++) draw([7, round]);
      const before = backend.counters();
      const mean = draw([7, 99]);
      const after = backend.counters();
      expect(after.compiles).toBe(before.compiles);
      // Two 32-bit integers.
      expect(after.hostToDeviceBytes - before.hostToDeviceBytes).toBe(8);
      // The standard error of the mean of 100,000 numbers is 0.29 / 316.
      expect(Math.abs(mean - 0.5)).toBeLessThan(0.004);
      await backend.settle();
      tf.disposeVariables();
    });
  });
}
