import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import {
  activate,
  activateGated,
  activationNames,
  adaptedLinear,
  addLowRank,
  attention,
  clipByGlobalNorm,
  layerNormalize,
  rmsNormalize,
  splitHeads,
} from '@whetstone/core/ops';
import { finiteProbe } from '@whetstone/core/ops/internal';
import { sizeOfShape } from '@whetstone/core/util';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, numbers, random, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';
import { registerGradients } from '../tfjs-patches/gradients.js';

interface Case {
  readonly inputs: readonly number[][];
  readonly compute: (...inputs: tf.Tensor[]) => tf.Tensor;
}

const tables = { cos: (): tf.Tensor4D => random([2, 1, 3, 8], 7), sin: (): tf.Tensor4D => random([2, 1, 3, 8], 8) };

const cases: Readonly<Record<string, Case>> = {
  ...Object.fromEntries(
    activationNames.map((name) => [
      `gated ${name}`,
      {
        inputs: [
          [3, 5],
          [3, 5],
        ],
        compute: (gate?: tf.Tensor, up?: tf.Tensor) => activateGated(tf.mul(gate!, 4), up!, name),
      },
    ]),
  ),
  ...Object.fromEntries(
    activationNames.map((name) => [
      name,
      { inputs: [[3, 5]], compute: (x?: tf.Tensor) => activate(tf.mul(x!, 4), name) },
    ]),
  ),
  'layer normalization of rows': { inputs: [[3, 6]], compute: (x) => layerNormalize(x!, 1e-3) },
  'a low-rank adapter': {
    inputs: [
      [4, 6],
      [4, 5],
      [2, 5],
      [6, 2],
    ],
    compute: (base, x, a, b) =>
      addLowRank(base as tf.Tensor2D, x as tf.Tensor2D, a as tf.Tensor2D, b as tf.Tensor2D, tf.scalar(0.5)),
  },
  'a low-rank adapter of rank 1 without a scale': {
    inputs: [
      [4, 6],
      [4, 5],
      [1, 5],
      [6, 1],
    ],
    compute: (base, x, a, b) =>
      addLowRank(base as tf.Tensor2D, x as tf.Tensor2D, a as tf.Tensor2D, b as tf.Tensor2D, null),
  },
  'a linear layer with an adapter': {
    inputs: [
      [4, 5],
      [6, 5],
      [2, 5],
      [6, 2],
    ],
    compute: (x, weight, a, b) =>
      adaptedLinear(
        x as tf.Tensor2D,
        { weight: weight as tf.Tensor2D, fanInFanOut: false, bias: null },
        { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: tf.scalar(0.5) },
      ),
  },
  'a linear layer stored [in, out], with a bias and an adapter of rank 1 without a scale': {
    inputs: [[4, 5], [5, 6], [1, 5], [6, 1], [6]],
    compute: (x, weight, a, b, bias) =>
      adaptedLinear(
        x as tf.Tensor2D,
        { weight: weight as tf.Tensor2D, fanInFanOut: true, bias: bias! },
        { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: null },
      ),
  },
  'a linear layer with a bias and an adapter': {
    inputs: [[4, 5], [6, 5], [2, 5], [6, 2], [6]],
    compute: (x, weight, a, b, bias) =>
      adaptedLinear(
        x as tf.Tensor2D,
        { weight: weight as tf.Tensor2D, fanInFanOut: false, bias: bias! },
        { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: tf.scalar(0.5) },
      ),
  },
  'RMS normalization with a weight': { inputs: [[3, 6], [6]], compute: (x, weight) => rmsNormalize(x!, 1e-3, weight!) },
  'RMS normalization of rows': { inputs: [[3, 6]], compute: (x) => rmsNormalize(x!, 1e-3) },
  'RMS normalization of heads': { inputs: [[2, 3, 4]], compute: (x) => rmsNormalize(x!, 1e-3) },
  'heads without rotary features': {
    inputs: [[6, 24]],
    compute: (x) => tf.mul(splitHeads(x as tf.Tensor2D, 2, 8), tables.cos()),
  },
  'heads with only rotary features': {
    inputs: [[6, 24]],
    compute: (x) =>
      splitHeads(x as tf.Tensor2D, 2, 8, {
        rotation: { tables: { cos: tables.cos(), sin: tables.sin() }, rotated: 8 },
      }),
  },
  'heads in groups with some rotary features': {
    inputs: [[6, 32]],
    compute: (x) =>
      splitHeads(x as tf.Tensor2D, 2, 8, {
        rotation: { tables: { cos: tables.cos(), sin: tables.sin() }, rotated: 4 },
        groups: 2,
      }),
  },
  'attention in groups': {
    inputs: [
      [6, 32],
      [6, 16],
      [6, 16],
    ],
    compute: (query, key, value) =>
      attention(
        splitHeads(query as tf.Tensor2D, 2, 8, { groups: 2 }),
        splitHeads(key as tf.Tensor2D, 2, 8),
        splitHeads(value as tf.Tensor2D, 2, 8),
        random([4, 6, 3], 11),
        null,
      ),
  },
};

/** Returns the value, and the gradient of a weighted sum of it with respect to each input. */
function valueAndGradients({ inputs, compute }: Case): number[][] {
  return tf.tidy(() => {
    const tensors = inputs.map((shape, index) => random(shape, index + 1));
    const value = compute(...tensors);
    const gradients = tf.grads((...operands: tf.Tensor[]) =>
      tf.sum(tf.mul(compute(...operands), random(value.shape, 9))),
    )(tensors);
    return [value, ...gradients].map((tensor) => [...tensor.dataSync()]);
  });
}

describe.skipIf(libraryFolder === null)('fused kernels equal plain operations of the cpu backend', () => {
  beforeAll(async () => {
    await tf.setBackend('cpu');
    registerGradients();
  });

  for (const [name, one] of Object.entries(cases)) {
    test(name, async () => {
      await tf.setBackend('cpu');
      const expected = valueAndGradients(one);
      for (const start of [() => startBackend(), ...(xlaPlugin === null ? [] : [() => startXlaBackend()])]) {
        await start();
        const tensors = tf.memory().numTensors;
        const found = valueAndGradients(one);
        expect(tf.memory().numTensors).toBe(tensors);
        found.forEach((values, index) =>
          values.forEach((value, position) => expect(value).toBeCloseTo(expected[index]?.[position] ?? NaN, 5)),
        );
      }
    });
  }

  test('the finite probe is the sum of all numbers, which is finite if they are', async () => {
    const shapes = [[3, 4], [5], []];
    const expected = shapes
      .flatMap((shape, index) => [...numbers(sizeOfShape(shape), index + 1)])
      .reduce((sum, value) => sum + value, 0);
    for (const start of [
      () => tf.setBackend('cpu'),
      () => startBackend(),
      ...(xlaPlugin === null ? [] : [() => startXlaBackend()]),
    ]) {
      await start();
      const [sum, broken] = tf.tidy(() => {
        const tensors = shapes.map((shape, index) => random(shape, index + 1));
        return [tensors, [...tensors, tf.tensor1d([1, Infinity])]].map((all) => finiteProbe(all).dataSync()[0] ?? 0);
      });
      expect(sum).toBeCloseTo(expected, 4);
      expect(broken).toBe(Infinity);
    }
  });

  for (const limit of [0.5, 100]) {
    test(`clipping to a norm of ${limit}`, async () => {
      const shapes = [[3, 4], [5], []];
      // Expected: the norm of all numbers, and each number times min(1, limit ÷ (norm + 10⁻⁶)).
      const values = shapes.map((shape, index) => numbers(sizeOfShape(shape), index + 1));
      const norm = Math.sqrt(values.flatMap((list) => [...list]).reduce((sum, value) => sum + value * value, 0));
      const expected = [
        [norm],
        ...values.map((list) => Array.from(list, (value) => value * Math.min(1, limit / (norm + 1e-6)))),
      ];
      const read = (): number[][] =>
        tf.tidy(() => {
          const clipped = clipByGlobalNorm(
            shapes.map((shape, index) => random(shape, index + 1)),
            tf.scalar(limit),
          );
          return [clipped.norm, ...clipped.clipped].map((tensor) => [...tensor.dataSync()]);
        });
      for (const start of [
        () => tf.setBackend('cpu'),
        () => startBackend(),
        ...(xlaPlugin === null ? [] : [() => startXlaBackend()]),
      ]) {
        await start();
        read().forEach((list, index) =>
          list.forEach((value, position) => expect(value).toBeCloseTo(expected[index]?.[position] ?? NaN, 5)),
        );
      }
    });
  }
});
