import * as tf from '@tensorflow/tfjs-core';
import { constant } from '@whetstone/core/ops';
import { overwriteRows, repeatable, shapesAreStatic } from '@whetstone/core/ops/internal';
import { describe, expect, test } from 'vitest';
import { engines } from '../test-support.js';
import type { WhetstoneBackend } from './backend.js';

/** So many that the engine compiles the graph at once. */
const operations = (): number => (shapesAreStatic() ? 1 : 450);

for (const { engine, missing, start } of engines) {
  describe.skipIf(missing)(`repeatable computations on ${engine}`, () => {
    test('are recorded once, and again for other shapes', async () => {
      await start();
      const weight = tf.tensor2d([1, 2, 3, 4], [2, 2]);
      let recorded = 0;
      // Long enough that it is compiled at once.
      const twice = repeatable(([x]) => {
        recorded++;
        // A tensor from the host becomes a constant, although it is disposed after the recording.
        const one = tf.tensor1d([1, 1]);
        const shifted = tf.tidy(() => tf.add(tf.matMul(x as tf.Tensor2D, weight), tf.tensor1d([10, 20])));
        let sum: tf.Tensor = tf.add(shifted, one);
        for (let step = 0; step < operations(); step++) sum = tf.add(sum, constant(0));
        return [sum, x as tf.Tensor];
      });
      const run = (values: number[]): number[] =>
        tf.tidy(() => {
          const [result, same] = twice.run([tf.tensor2d(values, [values.length / 2, 2])], 0);
          expect([...(same?.dataSync() ?? [])]).toEqual(values);
          return [...(result?.dataSync() ?? [])];
        });
      const before = tf.memory().numTensors;
      // [a, b] · [[1, 2], [3, 4]] + [11, 21]
      expect(run([1, 0])).toEqual([12, 23]);
      expect(run([0, 1])).toEqual([14, 25]);
      expect(run([2, 5])).toEqual([28, 45]);
      expect(recorded).toBe(1);
      expect(run([1, 0, 0, 1])).toEqual([12, 23, 14, 25]);
      expect(run([0, 0, 1, 1])).toEqual([11, 21, 15, 27]);
      expect(recorded).toBe(2);
      expect(tf.memory().numTensors).toBe(before);
      // A backend that has dropped its programs records again.
      (tf.backend() as WhetstoneBackend).recorder.operands.clear();
      expect(run([0, 1, 0, 0])).toEqual([14, 25, 11, 21]);
      expect(recorded).toBe(3);
      twice.dispose();
      weight.dispose();
    });

    test('carry a state from one run to the next in the same memory', async () => {
      await start();
      const append = repeatable(([at, value, table]) => {
        const written = overwriteRows(table as tf.Tensor2D, at as tf.Tensor1D, value as tf.Tensor2D);
        let sum: tf.Tensor = tf.sum(written);
        for (let step = 0; step < operations(); step++) sum = tf.add(sum, constant(0));
        return [sum, written];
      });
      let table = tf.tensor2d(new Float32Array(200_000), [100_000, 2]);
      const sums = [1, 2, 3, 4, 5].map((number) => {
        const inputs = [tf.tensor1d([7 * number], 'int32'), tf.tensor2d([[number, 0]])];
        const [sum, next] = tf.tidy(() => append.run([...inputs, table], 1)) as [tf.Tensor, tf.Tensor2D];
        tf.dispose([table, ...inputs]);
        table = next;
        const value = sum.dataSync()[0];
        sum.dispose();
        return value;
      });
      expect(sums).toEqual([1, 3, 6, 10, 15]);
      append.dispose();
      table.dispose();
    });
  });
}
