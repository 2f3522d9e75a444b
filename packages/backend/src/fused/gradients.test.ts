import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { crossEntropy, crossEntropyAndGradient } from '@whetstone/core/ops';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, random, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';
import { registerGradients } from '../tfjs-patches/gradients.js';

interface Case {
  readonly shapes: readonly number[][];
  /** Some scalar of the inputs that weighs every element differently. */
  readonly compute: (...inputs: tf.Tensor[]) => tf.Tensor;
}

const cases: Readonly<Record<string, Case>> = {
  'sum of an axis': { shapes: [[3, 4]], compute: (x) => tf.sum(x!, 1) },
  'sum of all': { shapes: [[2, 3]], compute: (x) => tf.sum(x!) },
  'sum, axis kept': { shapes: [[2, 3, 2]], compute: (x) => tf.sum(x!, [0, 2], true) },
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
  'gather of rows, one twice': {
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

const weighed = (value: tf.Tensor): tf.Scalar => tf.sum(tf.mul(value, random(value.shape, 99))) as tf.Scalar;

/** Central differences of `f` at `x`. */
function differences(f: (inputs: tf.Tensor[]) => number, inputs: tf.Tensor[], index: number): number[] {
  const step = 1e-2;
  const values = Float32Array.from(inputs[index]!.dataSync());
  return Array.from(values, (value, position) => {
    const at = (moved: number): number => {
      const copy = values.slice();
      copy[position] = moved;
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
            const gradients = tf.grads((...given: tf.Tensor[]) => weighed(compute(...given)))(inputs);
            gradients.forEach((gradient, index) => {
              expect(gradient.shape).toEqual(shapes[index]);
              const expected = differences((given) => weighed(compute(...given)).dataSync()[0] ?? NaN, inputs, index);
              gradient.dataSync().forEach((value, position) => expect(value).toBeCloseTo(expected[position] ?? NaN, 2));
            });
          });
          expect(tf.memory().numTensors).toBe(tensors);
        });
      }
    },
  );
}

describe.skipIf(libraryFolder === null)('fused kernels', () => {
  test('sparse cross-entropy gives what the plain operations give, loss and gradient', async () => {
    const targets = Int32Array.from([3, 0, 6, 6]);
    const compute = (): number[][] =>
      tf.tidy(() => {
        const { value, grad } = tf.valueAndGrad((logits: tf.Tensor) =>
          weighed(crossEntropy(logits as tf.Tensor2D, targets)),
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

  test('and does so in stretches of rows, in the memory of the logits only where nobody else holds them', async () => {
    await startBackend();
    // 70 rows in 8 stretches: seven of nine and one of seven.
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
      // Losses reach some hundreds, of which float32 rounds 24 bits; probabilities are at most 1.
      for (const [index, loss] of losses.entries()) expect(result[index]).toBeCloseTo(loss, 4);
      for (const [index, gradient] of gradients.entries())
        expect(result[losses.length + index]).toBeCloseTo(gradient, 6);
    }
    expect(computed.after).toEqual(computed.before);
  });

  test.skipIf(xlaPlugin === null)('and so does its StableHLO', async () => {
    const targets = Int32Array.from([3, 0, 6, 6]);
    const compute = (): number[] =>
      tf.tidy(() => {
        const { value, grad } = tf.valueAndGrad((logits: tf.Tensor) =>
          weighed(crossEntropy(logits as tf.Tensor2D, targets)),
        )(tf.mul(random([4, 7], 5), 30));
        return [...value.dataSync(), ...grad.dataSync()];
      });
    await tf.setBackend('cpu');
    const expected = compute();
    await startXlaBackend();
    compute().forEach((value, position) => expect(value).toBeCloseTo(expected[position] ?? NaN, 4));
    await startBackend();
  });

  test("a gradient uploads nothing of an activation's size", async () => {
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
});
