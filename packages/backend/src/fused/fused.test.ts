import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { activateGated, activationNames, rmsNormalize, rotary } from '@whetstone/core/ops';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, random, startBackend } from '../test-support.js';
import { registerLeanGradients } from './gradients.js';

interface Case {
  readonly inputs: readonly number[][];
  readonly compute: (...inputs: tf.Tensor[]) => tf.Tensor;
}

const tables = { cos: (): tf.Tensor4D => random([2, 1, 3, 8], 7), sin: (): tf.Tensor4D => random([2, 1, 3, 8], 8) };

const cases: Readonly<Record<string, Case>> = {
  ...Object.fromEntries(activationNames.map((name) => [`gated ${name}`, { inputs: [[3, 5], [3, 5]], compute: (gate?: tf.Tensor, up?: tf.Tensor) => activateGated(tf.mul(gate!, 4), up!, name) }])),
  'RMS normalisation of rows': { inputs: [[3, 6]], compute: (x) => rmsNormalize(x!, 1e-3) },
  'RMS normalisation of heads': { inputs: [[2, 3, 4]], compute: (x) => rmsNormalize(x!, 1e-3) },
  'rotary of all features': { inputs: [[2, 3, 3, 8]], compute: (x) => rotary(x as tf.Tensor4D, { cos: tables.cos(), sin: tables.sin() }, 8) },
  'rotary of some features': { inputs: [[2, 3, 3, 8]], compute: (x) => rotary(x as tf.Tensor4D, { cos: tables.cos(), sin: tables.sin() }, 4) },
};

/** The value, and the gradient of a weighed sum of it with respect to each input. */
function valueAndGradients({ inputs, compute }: Case): number[][] {
  return tf.tidy(() => {
    const tensors = inputs.map((shape, index) => random(shape, index + 1));
    const value = compute(...tensors);
    const gradients = tf.grads((...given: tf.Tensor[]) => tf.sum(tf.mul(compute(...given), random(value.shape, 9))))(tensors);
    return [value, ...gradients].map((tensor) => [...tensor.dataSync()]);
  });
}

describe.skipIf(libraryFolder === null)('fused kernels give what the plain operations of other backends give', () => {
  beforeAll(async () => {
    await tf.setBackend('cpu');
    registerLeanGradients();
  });

  for (const [name, one] of Object.entries(cases)) {
    test(name, async () => {
      await tf.setBackend('cpu');
      const expected = valueAndGradients(one);
      await startBackend();
      const tensors = tf.memory().numTensors;
      const found = valueAndGradients(one);
      expect(tf.memory().numTensors).toBe(tensors);
      found.forEach((values, index) => values.forEach((value, position) => expect(value).toBeCloseTo(expected[index]?.[position] ?? NaN, 5)));
    });
  }
});
