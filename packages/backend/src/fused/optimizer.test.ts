import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { adamwUpdate } from '@whetstone/core/ops/internal';
import { describe, expect, test } from 'vitest';
import { engines, random } from '../test-support.js';

/** Returns the new parameter and moments, then the operands after the update. */
function update(shape: number[]): number[][] {
  return tf.tidy(() => {
    const [parameter, gradient, firstMoment] = [random(shape, 1), random(shape, 2), random(shape, 3)];
    const secondMoment = tf.square(random(shape, 4));
    const scalars = { stepSize: tf.scalar(0.01), decay: tf.scalar(0.999), correction: tf.scalar(1.7) };
    const results = adamwUpdate(
      { parameter, gradient, firstMoment, secondMoment },
      scalars,
      { beta1: 0.9, beta2: 0.99, epsilon: 1e-3 },
      (value) => tf.scalar(value),
    );
    return [...results, parameter, gradient, firstMoment, secondMoment].map((tensor) => [...tensor.dataSync()]);
  });
}

for (const { engine, missing, start } of engines) {
  describe.skipIf(missing)(`fused AdamW on ${engine}`, () => {
    // Sizes that are not multiples of a vector register, and one that is split between threads.
    for (const shape of [[1], [7], [3, 5], [257, 129]]) {
      test(`[${shape.join(', ')}]: equals plain operations and does not change its operands`, async () => {
        await tf.setBackend('cpu');
        const expected = update(shape);
        await start();
        const tensors = tf.memory().numTensors;
        const found = update(shape);
        expect(tf.memory().numTensors).toBe(tensors);
        found.forEach((values, index) =>
          values.forEach((value, position) => expect(value).toBeCloseTo(expected[index]?.[position] ?? NaN, 6)),
        );
      });
    }
  });
}
