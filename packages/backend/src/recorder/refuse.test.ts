import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';

const engines = [
  { engine: 'tensorflow', missing: libraryFolder === null, start: startBackend },
  { engine: 'xla', missing: xlaPlugin === null, start: startXlaBackend },
];

const tries: readonly (readonly [string, () => tf.Tensor, Readonly<Record<string, unknown>>])[] = [
  // tfjs's cpu backend, which convolves here, makes a shape of [1, -3, -3, 1] of this one.
  [
    'a window larger than the picture',
    () => tf.conv2d(tf.zeros([1, 1, 1, 1]) as tf.Tensor4D, tf.zeros([5, 5, 1, 1]) as tf.Tensor4D, 1, 'valid'),
    { code: 'BACKEND_FAILED', found: '-3' },
  ],
  ['a length that is no number', () => tf.tile(tf.zeros([2]), [NaN]), { code: 'BACKEND_FAILED', found: 'NaN' }],
  ['half a row', () => tf.pad(tf.zeros([4]), [[0.5, 0]]), { code: 'BACKEND_FAILED', found: '4.5' }],
  ['fewer rows than none', () => tf.pad(tf.zeros([4]), [[-9, 0]]), { code: 'BACKEND_FAILED', found: '-5' }],
  [
    'a length of more than 31 bits',
    () => tf.tile(tf.zeros([0, 1]), [1, 2 ** 31]),
    { code: 'BACKEND_FAILED', found: '2147483648' },
  ],
  ['more than the machine has', () => tf.tile(tf.zeros([1, 1]), [2 ** 25, 2 ** 25]), { code: 'OUT_OF_MEMORY' }],
  [
    'numbers of another kind',
    () => tf.tensor1d([1n, 2n] as never),
    { code: 'BACKEND_FAILED', expected: '2 numbers', found: '0' },
  ],
];

describe.each(engines)('what is no tensor is refused when it is asked for, on $engine', ({ missing, start }) => {
  beforeAll(async () => {
    if (!missing) await start();
  });

  test.skipIf(missing).each(tries)('%s', (_, ask, told) => {
    expect(() => tf.tidy(ask)).toThrow(expect.objectContaining(told));
    // Nothing else is lost by it.
    const sum = tf.tidy(() => tf.add(tf.tensor1d([1, 2]), 1));
    expect([...sum.dataSync()]).toEqual([2, 3]);
    sum.dispose();
  });
});
