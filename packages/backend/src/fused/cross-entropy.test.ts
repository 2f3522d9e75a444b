import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { crossEntropy } from '@whetstone/core/ops';
import { crossEntropyAndGradient } from '@whetstone/core/ops/internal';
import { describe, expect, test } from 'vitest';
import { libraryFolder, random, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';

/** Returns a scalar that weights every element differently. */
const weightedSum = (value: tf.Tensor): tf.Scalar => tf.sum(tf.mul(value, random(value.shape, 99))) as tf.Scalar;

describe.skipIf(libraryFolder === null)('sparse cross-entropy', () => {
  test('loss and gradient equal those of plain operations', async () => {
    const targets = Int32Array.from([3, 0, 6, 6]);
    const compute = (): number[][] =>
      tf.tidy(() => {
        const { value, grad } = tf.valueAndGrad((logits: tf.Tensor) =>
          weightedSum(crossEntropy(logits as tf.Tensor2D, targets)),
        )(tf.mul(random([4, 7], 5), 30));
        return [[...value.dataSync()], [...grad.dataSync()]];
      });
    await tf.setBackend('cpu');
    const expected = compute().flat();
    await startBackend();
    compute()
      .flat()
      .forEach((value, position) => expect(value).toBeCloseTo(expected[position] ?? NaN, 4));
  });

  test('blocks of rows equal float64, and never overwrite logits that are still held', async () => {
    await startBackend();
    // 70 rows in eight blocks: seven of nine rows and one of seven.
    const targets = Int32Array.from({ length: 70 }, (_, row) => row % 11);
    const computed = tf.tidy(() => {
      const logits: tf.Tensor2D = tf.mul(random([70, 11], 5), 30);
      const before = tf.clone(logits).dataSync().slice();
      const results = [1, 8, 8].map((stretches, index) =>
        crossEntropyAndGradient(index === 2 ? tf.mul(logits, 1) : logits, targets, stretches),
      );
      return {
        before,
        after: logits.dataSync(),
        results: results.map(({ loss, gradient }) => [...loss.dataSync(), ...gradient.dataSync()]),
      };
    });
    // log Σ exp(logits) − logits[target] and softmax − one-hot, in float64. The library may round rows differently
    // in blocks of other sizes, so results of different blocks are not compared bit for bit.
    const losses: number[] = [];
    const gradients: number[] = [];
    for (const [row, target] of targets.entries()) {
      const logits = Float64Array.from(computed.before.slice(row * 11, (row + 1) * 11));
      const largest = Math.max(...logits);
      const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
      losses.push(largest + Math.log(sum) - (logits[target] ?? NaN));
      gradients.push(
        ...Array.from(logits, (logit, index) => Math.exp(logit - largest) / sum - Number(index === target)),
      );
    }
    for (const result of computed.results) {
      expect(result).toHaveLength(losses.length + gradients.length);
      // float32 has 24 bits for losses of some hundreds. Probabilities are at most 1.
      for (const [index, loss] of losses.entries()) expect(result[index]).toBeCloseTo(loss, 4);
      for (const [index, gradient] of gradients.entries())
        expect(result[losses.length + index]).toBeCloseTo(gradient, 6);
    }
    expect(computed.after).toEqual(computed.before);
  });

  test.skipIf(xlaPlugin === null)(
    'loss and gradient of the StableHLO lowering equal those of plain operations',
    async () => {
      const targets = Int32Array.from([3, 0, 6, 6]);
      const compute = (): number[] =>
        tf.tidy(() => {
          const { value, grad } = tf.valueAndGrad((logits: tf.Tensor) =>
            weightedSum(crossEntropy(logits as tf.Tensor2D, targets)),
          )(tf.mul(random([4, 7], 5), 30));
          return [...value.dataSync(), ...grad.dataSync()];
        });
      await tf.setBackend('cpu');
      const expected = compute();
      await startXlaBackend();
      compute().forEach((value, position) => expect(value).toBeCloseTo(expected[position] ?? NaN, 4));
      await startBackend();
    },
  );
});
