import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { boundary } from './recording.js';
import { customGradient } from './custom-gradient.js';

const observed = (): { submitSegment?(): void } => tf.backend() as { submitSegment?(): void };

beforeAll(() => tf.setBackend('cpu'));
afterEach(() => {
  delete observed().submitSegment;
});

/** Σ (2x)², whose gradient is 8x. */
const loss = (x: tf.Tensor): tf.Scalar => tf.sum(tf.square(boundary(tf.mul(x, 2))));

test('a boundary changes neither value nor gradient, and leaks no tensor', () => {
  const x = tf.tensor1d([1, -3]);
  const before = tf.memory().numTensors;
  const { value, grad } = tf.valueAndGrad(loss)(x);
  expect(value.dataSync()[0]).toBe(40);
  expect([...grad.dataSync()]).toEqual([8, -24]);
  tf.dispose([value, grad]);
  expect(tf.memory().numTensors).toBe(before);
  x.dispose();
});

test('a boundary submits a segment in the forward pass and, before earlier gradients, in the backward pass', () => {
  const submitted: number[] = [];
  const x = tf.tensor1d([1, -3]);
  let operations = 0;
  tf.tidy(() => {
    observed().submitSegment = () => void submitted.push(operations);
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
  // One operation runs before the boundary. In the backward pass, the operation after it and its gradient ran before.
  expect(submitted).toEqual([1, 3]);
  expect(operations).toBe(4);
  x.dispose();
});
