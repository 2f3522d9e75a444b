import * as tf from '@tensorflow/tfjs-core';
import { runKernel } from '@whetstone/core/ops';
import { describe, expect, test } from 'vitest';
import { libraryFolder, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';

const engines = {
  tensorflow: { missing: libraryFolder === null, start: startBackend },
  xla: { missing: xlaPlugin === null, start: startXlaBackend },
};

/** Whole numbers, so that every product and sum is exact. */
const value = (index: number, step: number): number => ((index * step) % 7) - 3;
const numbers = (shape: [number, number], step: number): tf.Tensor2D =>
  tf.tensor2d(
    Float32Array.from({ length: shape[0] * shape[1] }, (_, index) => value(index, step)),
    shape,
  );

// The second sum is cut into stretches of rows.
const shapes: readonly [number, number][] = [
  [3, 2],
  [1500, 3000],
];

for (const [engine, { missing, start }] of Object.entries(engines)) {
  describe.skipIf(missing)(`a product added to a sum on ${engine}`, () => {
    test.each(shapes)(
      '[%s, %s]: is that of its columns, and the sum that was given stays as it is',
      async (rows, columns) => {
        await start();
        const [given, more, less] = tf.tidy(() => {
          const [a, b] = [numbers([2, rows], 5), numbers([2, columns], 3)];
          const sum: tf.Tensor2D = tf.mul(numbers([rows, columns], 4), 1);
          // Twice from one sum: neither may write where the other one reads.
          const sums = [a, tf.neg(a)].flatMap((each) => runKernel('WhetstoneAddProduct', { sum, a: each, b }));
          return [sum, ...sums].map((tensor) => tensor.dataSync());
        });
        let wrong = 0;
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            const index = row * columns + column;
            const before = value(index, 4);
            const product = value(row, 5) * value(column, 3) + value(rows + row, 5) * value(columns + column, 3);
            if (given?.[index] !== before || more?.[index] !== before + product || less?.[index] !== before - product)
              wrong++;
          }
        }
        expect(wrong).toBe(0);
      },
    );
  });
}
