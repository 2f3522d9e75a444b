import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { boundary } from './boundary.js';
import { customGradient } from './custom-gradient.js';

const watched = (): { handOverPiece?(): void } => tf.backend() as { handOverPiece?(): void };

beforeAll(() => tf.setBackend('cpu'));
afterEach(() => {
  delete watched().handOverPiece;
});

/** Σ (2x)², whose gradient is 8x. */
const loss = (x: tf.Tensor): tf.Scalar => tf.sum(tf.square(boundary(tf.mul(x, 2))));

test('a boundary changes neither value nor gradient, and leaves no tensor', () => {
  const x = tf.tensor1d([1, -3]);
  const before = tf.memory().numTensors;
  const { value, grad } = tf.valueAndGrad(loss)(x);
  expect(value.dataSync()[0]).toBe(40);
  expect([...grad.dataSync()]).toEqual([8, -24]);
  tf.dispose([value, grad]);
  expect(tf.memory().numTensors).toBe(before);
  x.dispose();
});

test('a backend that records is told on the way there, and on the way back before anything behind it', () => {
  const told: number[] = [];
  const x = tf.tensor1d([1, -3]);
  let operations = 0;
  tf.tidy(() => {
    watched().handOverPiece = () => void told.push(operations);
    const counting = (y: tf.Tensor): tf.Tensor => {
      operations++;
      return customGradient(
        [y],
        () => ({ value: tf.mul(y, 1), saved: [] }),
        (gradient) => {
          operations++;
          return [gradient];
        },
      );
    };
    tf.grad((y: tf.Tensor) => tf.sum(counting(boundary(counting(y)))))(x);
  });
  // On the way there one operation stands before it; on the way back there are the one behind it and its gradient, too.
  expect(told).toEqual([1, 3]);
  expect(operations).toBe(4);
  x.dispose();
});
