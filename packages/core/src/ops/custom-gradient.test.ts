import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { customGradient, savedAt } from './custom-gradient.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

/** x³ with gradient 3·x². The square is computed in the forward pass and saved for the backward pass. */
const cube = (x: tf.Tensor): tf.Tensor =>
  customGradient<tf.Tensor>(
    [x],
    () => {
      const squared = tf.square(x);
      return { value: tf.mul(squared, x), saved: [squared] };
    },
    (gradient, saved) => [tf.mul(gradient, tf.mul(3, savedAt(saved, 0)))],
  );

describe('customGradient', () => {
  it('passes saved tensors to the gradient, also within a longer computation, and leaks no tensor', () => {
    const x = tf.tensor1d([1, -2, 3]);
    const before = tf.memory();
    // d (2·x³)² / dx = 2 · 2x³ · 6x² = 24·x⁵.
    const gradient = tf.grad((input) => tf.sum(tf.square(tf.mul(2, cube(input)))))(x);
    expect([...gradient.dataSync()]).toEqual([24, -768, 5832]);
    gradient.dispose();
    expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
    x.dispose();
  });

  it('saves nothing without a gradient tape', () => {
    const x = tf.tensor1d([2]);
    const before = tf.memory().numTensors;
    const value = tf.tidy(() => cube(x));
    expect([...value.dataSync()]).toEqual([8]);
    expect(tf.memory().numTensors).toBe(before + 1);
    tf.dispose([x, value]);
  });
});
