import * as tf from '@tensorflow/tfjs-core';
import { runKernel } from '@whetstone/core/ops/internal';
import { describe, expect, test } from 'vitest';
import { engines } from '../test-support.js';

/** Returns integers, so that every product and sum is exact. */
const value = (index: number, step: number): number => ((index * step) % 7) - 3;
const numbers = (shape: [number, number], step: number): tf.Tensor2D =>
  tf.tensor2d(
    Float32Array.from({ length: shape[0] * shape[1] }, (_, index) => value(index, step)),
    shape,
  );

// The second sum is computed in blocks of rows.
const shapes: readonly [number, number][] = [
  [3, 2],
  [1500, 3000],
];

for (const { engine, missing, start } of engines) {
  describe.skipIf(missing)(`in-place kernels on ${engine}`, () => {
    test.each(shapes)(
      'addProduct adds a product of shape [%s, %s] and does not change the given sum',
      async (rows, columns) => {
        await start();
        const [original, plus, minus] = tf.tidy(() => {
          const [a, b] = [numbers([2, rows], 5), numbers([2, columns], 3)];
          const sum: tf.Tensor2D = tf.mul(numbers([rows, columns], 4), 1);
          // Two results from one sum: neither may overwrite it.
          const sums = [a, tf.neg(a)].flatMap((factor) => runKernel('WhetstoneAddProduct', { sum, a: factor, b }));
          return [sum, ...sums].map((tensor) => tensor.dataSync());
        });
        let wrong = 0;
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            const index = row * columns + column;
            const before = value(index, 4);
            const product = value(row, 5) * value(column, 3) + value(rows + row, 5) * value(columns + column, 3);
            if (
              original?.[index] !== before ||
              plus?.[index] !== before + product ||
              minus?.[index] !== before - product
            )
              wrong++;
          }
        }
        expect(wrong).toBe(0);
      },
    );

    test('overwriteRows replaces rows of a table, in its memory or in a copy', async () => {
      await start();
      const run = (rows: number, indices: number[]): Float32Array =>
        tf.tidy(() => {
          let table = tf.tensor2d(new Float32Array(rows * 2), [rows, 2]);
          // Several in a row, as a key-value cache does.
          for (const step of [1, 2])
            [table] = runKernel('WhetstoneOverwriteRows', {
              table,
              indices: tf.tensor1d(
                indices.map((index) => index + step - 1),
                'int32',
              ),
              rows: tf.tensor2d(indices.map((index) => [step * index, -step])),
            }) as [tf.Tensor2D];
          return table.dataSync<'float32'>().slice();
        });
      expect([...run(5, [3, 0])]).toEqual([0, -1, 0, -2, 0, 0, 3, -1, 6, -2]);
      const large = run(200_000, [150_000]);
      expect([...large.subarray(300_000, 300_004)]).toEqual([150_000, -1, 300_000, -2]);
      expect(large.filter((number) => number !== 0)).toHaveLength(4);
    });

    test('addRows adds rows as often as their index occurs and does not change the given table', async () => {
      await start();
      const [table, added] = tf.tidy(() => {
        const original = tf.mul(
          tf.tensor2d([
            [1, 2],
            [3, 4],
            [5, 6],
            [7, 8],
          ]),
          1,
        );
        const [sum] = runKernel('WhetstoneAddRows', {
          x: original,
          indices: tf.tensor2d([[2], [0], [2]], [3, 1], 'int32'),
          rows: tf.tensor2d([
            [10, 20],
            [30, 40],
            [50, 60],
          ]),
        });
        return [original.arraySync(), (sum as tf.Tensor).arraySync()];
      });
      expect(added).toEqual([
        [31, 42],
        [3, 4],
        [65, 86],
        [7, 8],
      ]);
      expect(table).toEqual([
        [1, 2],
        [3, 4],
        [5, 6],
        [7, 8],
      ]);
    });
  });
}
