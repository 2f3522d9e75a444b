import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, random, startBackend } from '../test-support.js';
import type { WhetstoneBackend } from './backend.js';

describe.skipIf(libraryFolder === null)('parts that are computed beside each other', () => {
  let backend: WhetstoneBackend;
  beforeAll(async () => {
    // Compiled at first sight: what runs op by op runs as everything else does.
    backend = await startBackend({ recorder: { eagerNodes: 0 } });
  });

  /** Σ over two halves of relu(half · w), for rows of their own. */
  const sumOfHalves = (x: tf.Tensor2D, w: tf.Tensor2D): tf.Tensor =>
    tf.addN(tf.split(x, 2).map((half) => tf.sum(tf.relu(tf.matMul(half, w)), 0)));

  test('give the same bits, take tensors from outside, and leave theirs to what comes after', async () => {
    const x = random<tf.Rank.R2>([64, 48], 1);
    const w = tf.tidy(() => tf.mul(random<tf.Rank.R2>([48, 32], 2), 2)) as tf.Tensor2D;
    const alone = tf.tidy(() => sumOfHalves(x, w));
    const expected = await alone.data();
    const { compiles } = backend.counters();
    for (let repetition = 0; repetition < 3; repetition++) {
      const beside = backend.sideBySide(() => tf.tidy(() => sumOfHalves(x, w)));
      const doubled = tf.tidy(() => tf.mul(beside, 2));
      expect(beside.dataSync()).toEqual(expected);
      expect(await doubled.data()).toEqual(expected.map((value) => 2 * value));
      tf.dispose([beside, doubled]);
    }
    // A function of their own, and one for the doubling.
    expect(backend.counters().compiles - compiles).toBe(2);
    tf.dispose([x, w, alone]);
  });

  test('that fail say which operation it was, and what comes after them works', async () => {
    const table = random<tf.Rank.R2>([4, 3], 1);
    const outside = tf.tensor1d([9], 'int32');
    const failed = backend.sideBySide(() => tf.tidy(() => tf.mul(tf.gather(tf.mul(table, 2), outside), 2)));
    await expect(failed.data()).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringContaining('GatherV2(float32 [4, 3]') as string,
    });
    const works = backend.sideBySide(() => tf.tidy(() => tf.sum(tf.mul(table, 2))));
    const sum = Array.from(table.dataSync()).reduce((total, value) => total + value, 0);
    expect(works.dataSync()[0]).toBeCloseTo(2 * sum, 5);
    await backend.settle();
    tf.dispose([table, outside, failed, works]);
  });
});
