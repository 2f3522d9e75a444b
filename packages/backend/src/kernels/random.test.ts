import * as tf from '@tensorflow/tfjs-core';
import { philoxUniform, randomUniform } from '@whetstone/core/ops';
import { describe, expect, test } from 'vitest';
import { libraryFolder, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';
import type { WhetstoneBackend } from '../recorder/backend.js';

// TensorFlow's own stateless generator is the reference: what the host and XLA compute has to be its bits.

const seeds: readonly (readonly [number, number])[] = [
  [0, 0],
  [1, 2],
  [-1, 2 ** 31 - 1],
  [123_456_789, -(2 ** 31)],
];
const shapes = [[1], [7], [3, 5], [64, 33]];

const engines = [
  ['tensorflow', libraryFolder !== null, startBackend],
  ['xla', xlaPlugin !== null, startXlaBackend],
] as const;

for (const [engine, present, start] of engines) {
  describe.skipIf(!present)(engine, () => {
    const read = (shape: readonly number[], seed: readonly [number, number]): Float32Array => {
      const made = randomUniform(shape, seed);
      const values = made.dataSync<'float32'>();
      made.dispose();
      return values;
    };

    test("the bits of the host are the device's, whatever the seed and the shape", async () => {
      await start();
      for (const seed of seeds)
        for (const shape of shapes)
          expect(read(shape, seed), `${shape.join()} ${seed.join()}`).toEqual(
            philoxUniform(
              shape.reduce((a, b) => a * b, 1),
              seed,
            ),
          );
    });

    test('another seed compiles nothing, and nothing but the seed goes to the device', async () => {
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
      // 100,000 numbers: the standard error of their mean is 0.29 / 316.
      expect(Math.abs(mean - 0.5)).toBeLessThan(0.004);
      await backend.settle();
      tf.disposeVariables();
    });
  });
}
