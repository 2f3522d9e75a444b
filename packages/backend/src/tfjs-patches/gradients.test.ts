import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, random, startBackend } from '../test-support.js';
import { registerGradients } from './gradients.js';

interface Case {
  readonly shapes: readonly number[][];
  readonly compute: (...inputs: tf.Tensor[]) => tf.Tensor;
}

const cases: Readonly<Record<string, Case>> = {
  'sum of an axis': { shapes: [[3, 4]], compute: (x) => tf.sum(x!, 1) },
  'sum of all': { shapes: [[2, 3]], compute: (x) => tf.sum(x!) },
  'sum that keeps axes': { shapes: [[2, 3, 2]], compute: (x) => tf.sum(x!, [0, 2], true) },
  'mean of an axis': { shapes: [[3, 4]], compute: (x) => tf.mean(x!, -1) },
  'mean of all': { shapes: [[2, 3]], compute: (x) => tf.mean(x!) },
  rsqrt: { shapes: [[5]], compute: (x) => tf.rsqrt(tf.add(tf.square(x!), 0.5)) },
  softmax: { shapes: [[3, 5]], compute: (x) => tf.softmax(x!) },
  where: {
    shapes: [
      [2, 4],
      [2, 4],
    ],
    compute: (x, y) =>
      tf.where(
        tf.tensor2d(
          [
            [1, 0, 0, 1],
            [0, 0, 1, 1],
          ],
          [2, 4],
          'bool',
        ),
        x!,
        tf.mul(y!, 2),
      ),
  },
  'gather of rows, one of them twice': {
    shapes: [[4, 3]],
    compute: (x) =>
      tf.gather(
        x!,
        tf.tensor2d(
          [
            [2, 0],
            [2, 3],
          ],
          [2, 2],
          'int32',
        ),
      ),
  },
  'gather along another axis': {
    shapes: [[2, 4, 2]],
    compute: (x) => tf.gather(x!, tf.tensor1d([3, 1, 1], 'int32'), 1),
  },
  ...Object.fromEntries(
    [false, true].flatMap((transposeA) =>
      [false, true].flatMap((transposeB) => {
        const a = transposeA ? [4, 3] : [3, 4];
        const b = transposeB ? [5, 4] : [4, 5];
        const compute = (x?: tf.Tensor, y?: tf.Tensor): tf.Tensor => tf.matMul(x!, y!, transposeA, transposeB);
        return [
          [`matMul ${transposeA} ${transposeB}`, { shapes: [a, b], compute }],
          [
            `matMul of batches ${transposeA} ${transposeB}`,
            {
              shapes: [
                [2, ...a],
                [2, ...b],
              ],
              compute,
            },
          ],
          [`matMul with a shared right matrix ${transposeA} ${transposeB}`, { shapes: [[2, ...a], b], compute }],
          [`matMul with a shared left matrix ${transposeA} ${transposeB}`, { shapes: [a, [2, ...b]], compute }],
        ];
      }),
    ),
  ),
};

/** Returns a scalar that weights every element differently. */
const weightedSum = (value: tf.Tensor): tf.Scalar => tf.sum(tf.mul(value, random(value.shape, 99))) as tf.Scalar;

/** Returns central differences of `f` with respect to one input. */
function differences(f: (inputs: tf.Tensor[]) => number, inputs: tf.Tensor[], index: number): number[] {
  const step = 1e-2;
  const values = Float32Array.from(inputs[index]!.dataSync());
  return Array.from(values, (value, position) => {
    const at = (shifted: number): number => {
      const copy = values.slice();
      copy[position] = shifted;
      return tf.tidy(() => f(inputs.map((input, other) => (other === index ? tf.tensor(copy, input.shape) : input))));
    };
    return (at(value + step) - at(value - step)) / (2 * step);
  });
}

for (const backendName of ['cpu', 'whetstone']) {
  describe.skipIf(backendName === 'whetstone' && libraryFolder === null)(
    `gradients equal finite differences on ${backendName}`,
    () => {
      beforeAll(async () => {
        if (backendName === 'whetstone') await startBackend();
        else await tf.setBackend('cpu');
        registerGradients();
      });

      for (const [name, { shapes, compute }] of Object.entries(cases)) {
        test(name, () => {
          const tensors = tf.memory().numTensors;
          tf.tidy(() => {
            const inputs = shapes.map((shape, index) => random(shape, index + 3));
            const gradients = tf.grads((...operands: tf.Tensor[]) => weightedSum(compute(...operands)))(inputs);
            gradients.forEach((gradient, index) => {
              expect(gradient.shape).toEqual(shapes[index]);
              const expected = differences(
                (operands) => weightedSum(compute(...operands)).dataSync()[0] ?? NaN,
                inputs,
                index,
              );
              gradient.dataSync().forEach((value, position) => expect(value).toBeCloseTo(expected[position] ?? NaN, 2));
            });
          });
          expect(tf.memory().numTensors).toBe(tensors);
        });
      }
    },
  );
}

test.skipIf(libraryFolder === null)("a gradient uploads nothing of an activation's size", async () => {
  const backend = await startBackend();
  const input = random([64, 64], 1);
  const before = backend.counters().hostToDeviceBytes;
  const gradient = tf.tidy(() =>
    tf.grad((x: tf.Tensor) => tf.add(tf.mean(tf.sum(tf.softmax(tf.square(x)), 1)), tf.max(tf.exp(x))))(input),
  );
  gradient.dataSync();
  expect(backend.counters().hostToDeviceBytes - before).toBeLessThan(64);
  tf.dispose([input, gradient]);
});
