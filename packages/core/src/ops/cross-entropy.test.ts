import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { crossEntropy, SPARSE_CROSS_ENTROPY_KERNEL } from './cross-entropy.js';

beforeAll(() => tf.setBackend('cpu'));

const targets = Int32Array.of(2, 0);
const values = [
  [0, 0, 0],
  [1, 3, 2],
];

/** By hand: ln 3 for equal logits; −1 + ln(e + e³ + e²) for the second row. */
const losses = [Math.log(3), Math.log(Math.exp(1) + Math.exp(3) + Math.exp(2)) - 1];
/** softmax − one-hot, row by row. */
const gradients = values.map((row, index) => {
  const total = row.reduce((sum, value) => sum + Math.exp(value), 0);
  return row.map((value, column) => Math.exp(value) / total - (column === targets[index] ? 1 : 0));
});

function expectWorkedNumbers(): void {
  tf.tidy(() => {
    const logits = tf.tensor2d(values);
    const weights = tf.tensor1d([2, -1]);
    const { value, grad } = tf.valueAndGrad((input: tf.Tensor) =>
      tf.sum(tf.mul(crossEntropy(input as tf.Tensor2D, targets), weights)),
    )(logits);
    expect(value.dataSync()[0]).toBeCloseTo(2 * (losses[0] ?? NaN) - (losses[1] ?? NaN), 5);
    const expected = gradients.flatMap((row, index) => row.map((part) => part * (index === 0 ? 2 : -1)));
    for (const [index, part] of Array.from(grad.dataSync()).entries())
      expect(part).toBeCloseTo(expected[index] ?? NaN, 6);
  });
}

describe('crossEntropy', () => {
  afterEach(() => {
    if (tf.getKernel(SPARSE_CROSS_ENTROPY_KERNEL, 'cpu') !== undefined)
      tf.unregisterKernel(SPARSE_CROSS_ENTROPY_KERNEL, 'cpu');
  });

  it('gives the numbers and gradients computed by hand', expectWorkedNumbers);

  it("gives the same with a backend's fused kernel", () => {
    let runs = 0;
    tf.registerKernel({
      kernelName: SPARSE_CROSS_ENTROPY_KERNEL,
      backendName: 'cpu',
      kernelFunc: ({ inputs }) => {
        runs++;
        expect(inputs['targets']?.dtype).toBe('int32');
        return [tf.tensor1d(losses), tf.tensor2d(gradients)];
      },
    });
    expectWorkedNumbers();
    expect(runs).toBe(1);
  });

  it('neither overflows nor underflows', () => {
    const loss = tf.tidy(() =>
      crossEntropy(
        tf.tensor2d([
          [1000, -1000],
          [-1e4, -1e4],
        ]),
        Int32Array.of(1, 0),
      ).arraySync(),
    );
    expect(loss[0]).toBe(2000);
    expect(loss[1]).toBeCloseTo(Math.log(2), 6);
  });

  it('leaks no tensor', () => {
    const logits = tf.tensor2d(values);
    const before = tf.memory().numTensors;
    tf.dispose(tf.grad((input) => tf.sum(crossEntropy(input as tf.Tensor2D, targets)))(logits));
    expect(tf.memory().numTensors).toBe(before);
    logits.dispose();
  });
});
