import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, random, startBackend } from '../test-support.js';
import type { WhetstoneBackend } from './backend.js';

describe.skipIf(libraryFolder === null)('concurrent computations', () => {
  let backend: WhetstoneBackend;
  beforeAll(async () => {
    // Always compiled: op by op execution is not concurrent.
    backend = await startBackend({ recorder: { maxEagerNodes: 0 } });
  });

  /** Returns the sum over rows of relu(half · w), added for both halves of x. */
  const sumOfHalves = (x: tf.Tensor2D, w: tf.Tensor2D): tf.Tensor =>
    tf.addN(tf.split(x, 2).map((half) => tf.sum(tf.relu(tf.matMul(half, w)), 0)));

  test('give the same bits, and share tensors with earlier and later graphs', async () => {
    const x = random<tf.Rank.R2>([64, 48], 1);
    const w = tf.tidy(() => tf.mul(random<tf.Rank.R2>([48, 32], 2), 2)) as tf.Tensor2D;
    const sequential = tf.tidy(() => sumOfHalves(x, w));
    const expected = await sequential.data();
    const { compiles } = backend.counters();
    for (let repetition = 0; repetition < 3; repetition++) {
      const concurrent = backend.recordConcurrently(() => tf.tidy(() => sumOfHalves(x, w)));
      const doubled = tf.tidy(() => tf.mul(concurrent, 2));
      expect(concurrent.dataSync()).toEqual(expected);
      expect(await doubled.data()).toEqual(expected.map((value) => 2 * value));
      tf.dispose([concurrent, doubled]);
    }
    // One function for the concurrent graph and one for the doubling.
    expect(backend.counters().compiles - compiles).toBe(2);
    tf.dispose([x, w, sequential]);
  });

  test('name a failed operation, and later graphs work', async () => {
    const table = random<tf.Rank.R2>([4, 3], 1);
    const outside = tf.tensor1d([9], 'int32');
    const failed = backend.recordConcurrently(() => tf.tidy(() => tf.mul(tf.gather(tf.mul(table, 2), outside), 2)));
    await expect(failed.data()).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringContaining('GatherV2(float32 [4, 3]') as string,
    });
    const works = backend.recordConcurrently(() => tf.tidy(() => tf.sum(tf.mul(table, 2))));
    const sum = Array.from(table.dataSync()).reduce((total, value) => total + value, 0);
    expect(works.dataSync()[0]).toBeCloseTo(2 * sum, 5);
    await backend.settle();
    tf.dispose([table, outside, failed, works]);
  });
});
