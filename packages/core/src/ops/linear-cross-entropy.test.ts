import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { crossEntropy } from './cross-entropy.js';
import { linearCrossEntropy } from './linear-cross-entropy.js';

beforeAll(() => tf.setBackend('cpu'));

const targets = Int32Array.of(3, 0, 6, 2, 2);
const hiddenValues = Array.from({ length: 5 * 4 }, (_, index) => Math.sin(3 * index));
const weightValues = Array.from({ length: 7 * 4 }, (_, index) => Math.cos(2 * index));

type Loss = (hidden: tf.Tensor2D, weight: tf.Tensor2D) => tf.Scalar;

/** Value and both gradients of three times a loss. */
function valueAndGradients(loss: Loss): number[][] {
  return tf.tidy(() => {
    const inputs = [tf.tensor2d(hiddenValues, [5, 4]), tf.tensor2d(weightValues, [7, 4])];
    const { value, grads } = tf.valueAndGrads((hidden, weight) =>
      tf.mul(loss(hidden as tf.Tensor2D, weight as tf.Tensor2D), 3),
    )(inputs);
    return [value, ...grads].map((tensor) => Array.from(tensor.dataSync()));
  });
}

describe('linearCrossEntropy', () => {
  // Expected values: the head followed by the loss, differentiated by tfjs-core.
  const whole =
    (softCap: number | null): Loss =>
    (hidden, weight) => {
      const logits: tf.Tensor2D = tf.matMul(hidden, weight, false, true);
      return tf.sum(
        crossEntropy(softCap === null ? logits : tf.mul(tf.tanh(tf.div(logits, softCap)), softCap), targets),
      );
    };

  it.each([
    [null, 1],
    [null, 2],
    [null, 5],
    [null, 9],
    [1.5, 2],
    [1.5, 5],
  ])('equals head and loss (soft cap %s, chunks of %s)', (softCap, chunk) => {
    const expected = valueAndGradients(whole(softCap));
    const actual = valueAndGradients((hidden, weight) =>
      linearCrossEntropy([{ hidden, targets }], weight, { chunk, softCap, weightGradient: true }),
    );
    expect(expected).toHaveLength(3);
    for (const [part, numbers] of expected.entries()) {
      expect(actual[part]).toHaveLength(numbers.length);
      for (const [index, number] of numbers.entries()) expect(actual[part]?.[index]).toBeCloseTo(number, 5);
    }
  });

  it.each([
    [null, 2],
    [null, 9],
    [1.5, 2],
  ])('equals head and weighted loss (soft cap %s, chunks of %s)', (softCap, chunk) => {
    const targetWeights = Float32Array.of(1, 0.25, 3, 0.5, 2);
    const expected = valueAndGradients((hidden, weight) => {
      const logits: tf.Tensor2D = tf.matMul(hidden, weight, false, true);
      return tf.sum(
        tf.mul(
          crossEntropy(softCap === null ? logits : tf.mul(tf.tanh(tf.div(logits, softCap)), softCap), targets),
          tf.tensor1d(targetWeights),
        ),
      );
    });
    const actual = valueAndGradients((hidden, weight) =>
      linearCrossEntropy([{ hidden, targets, targetWeights }], weight, { chunk, softCap, weightGradient: true }),
    );
    expect(expected).toHaveLength(3);
    for (const [part, numbers] of expected.entries()) {
      expect(actual[part]).toHaveLength(numbers.length);
      for (const [index, number] of numbers.entries()) expect(actual[part]?.[index]).toBeCloseTo(number, 5);
    }
  });

  it('computes one joint gradient of the weight for several groups', () => {
    const targetWeights = Float32Array.of(1, 0.25, 3, 0.5, 2);
    const expected = valueAndGradients((hidden, weight) =>
      linearCrossEntropy([{ hidden, targets, targetWeights }], weight, {
        chunk: 5,
        softCap: null,
        weightGradient: true,
      }),
    );
    const actual = valueAndGradients((hidden, weight) => {
      const part = (begin: number, end: number) => ({
        hidden: tf.slice(hidden, [begin, 0], [end - begin, 4]),
        targets: targets.subarray(begin, end),
        targetWeights: targetWeights.subarray(begin, end),
      });
      return linearCrossEntropy([part(0, 4), part(4, 5)], weight, { chunk: 2, softCap: null, weightGradient: true });
    });
    for (const [part, numbers] of expected.entries()) {
      expect(actual[part]).toHaveLength(numbers.length);
      for (const [index, number] of numbers.entries()) expect(actual[part]?.[index]).toBeCloseTo(number, 5);
    }
  });

  it('computes no gradient of a frozen weight', () => {
    const expected = valueAndGradients(whole(null))[1] ?? [];
    tf.tidy(() => {
      const weight = tf.tensor2d(weightValues, [7, 4]);
      const loss = (hidden: tf.Tensor): tf.Scalar =>
        linearCrossEntropy([{ hidden: hidden as tf.Tensor2D, targets }], weight, {
          chunk: 2,
          softCap: null,
          weightGradient: false,
        });
      const gradient = tf
        .grad(loss)(tf.tensor2d(hiddenValues, [5, 4]))
        .dataSync();
      for (const [index, number] of expected.entries()) expect(gradient[index]).toBeCloseTo(number / 3, 5);
    });
  });

  it('leaks no tensor', () => {
    const [hidden, weight] = [tf.tensor2d(hiddenValues, [5, 4]), tf.tensor2d(weightValues, [7, 4])];
    const before = tf.memory().numTensors;
    tf.dispose(
      tf.grads((a, b) =>
        linearCrossEntropy([{ hidden: a as tf.Tensor2D, targets }], b as tf.Tensor2D, {
          chunk: 2,
          softCap: 2,
          weightGradient: true,
        }),
      )([hidden, weight]),
    );
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([hidden, weight]);
  });
});
