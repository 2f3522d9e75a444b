import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { beforeAll, describe, expect, test } from 'vitest';
import { engines } from '../test-support.js';

const cases: readonly (readonly [string, () => tf.Tensor, Readonly<Record<string, unknown>>])[] = [
  // The cpu backend computes Conv2D and returns the shape [1, -3, -3, 1].
  [
    'a filter larger than the image',
    () => tf.conv2d(tf.zeros([1, 1, 1, 1]) as tf.Tensor4D, tf.zeros([5, 5, 1, 1]) as tf.Tensor4D, 1, 'valid'),
    { code: 'BACKEND_FAILED', found: '-3' },
  ],
  ['a length of NaN', () => tf.tile(tf.zeros([2]), [NaN]), { code: 'BACKEND_FAILED', found: 'NaN' }],
  ['a fraction of a row', () => tf.pad(tf.zeros([4]), [[0.5, 0]]), { code: 'BACKEND_FAILED', found: '4.5' }],
  ['a negative number of rows', () => tf.pad(tf.zeros([4]), [[-9, 0]]), { code: 'BACKEND_FAILED', found: '-5' }],
  [
    'a length of more than 31 bits',
    () => tf.tile(tf.zeros([0, 1]), [1, 2 ** 31]),
    { code: 'BACKEND_FAILED', found: '2147483648' },
  ],
  ['more memory than the machine has', () => tf.tile(tf.zeros([1, 1]), [2 ** 25, 2 ** 25]), { code: 'OUT_OF_MEMORY' }],
  [
    'values of an unsupported type',
    () => tf.tensor1d([1n, 2n] as never),
    { code: 'BACKEND_FAILED', expected: '2 numbers', found: '0' },
  ],
];

describe.each(engines)('impossible tensors throw when they are requested, on $engine', ({ missing, start }) => {
  beforeAll(async () => {
    if (!missing) await start();
  });

  test.skipIf(missing).each(cases)('%s', (_, compute, expected) => {
    expect(() => tf.tidy(compute)).toThrow(expect.objectContaining(expected));
    // Later operations work.
    const sum = tf.tidy(() => tf.add(tf.tensor1d([1, 2]), 1));
    expect([...sum.dataSync()]).toEqual([2, 3]);
    sum.dispose();
  });
});
