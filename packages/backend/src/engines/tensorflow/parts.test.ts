import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WhetstoneBackend } from '../../recorder/backend.js';
import { libraryFolder, random, startBackend } from '../../test-support.js';
import { namedIn } from './status.js';

const LAYERS = 6;

/**
 * A stack of layers of some forty operations; each looks its rows up by `rowsOf`, and what all of them looked up is
 * added at the end. `done` is called after each layer.
 */
function stack(
  x: tf.Tensor2D,
  weights: readonly tf.Tensor2D[],
  rowsOf: (layer: number) => tf.Tensor1D,
  done = () => {},
): tf.Tensor {
  const looked: tf.Tensor[] = [];
  let y: tf.Tensor2D = x;
  weights.forEach((weight, layer) => {
    for (let turn = 0; turn < 5; turn++) {
      const product = tf.matMul(y, weight) as tf.Tensor2D;
      const scaled = tf.mul(tf.tanh(product), tf.sigmoid(y));
      y = tf.sub(tf.add(y, scaled), tf.square(tf.relu(scaled)));
    }
    const rows = tf.gather(y, rowsOf(layer));
    looked.push(tf.sum(tf.softmax(rows), 0));
    y = tf.add(y, tf.mean(rows, 0)) as tf.Tensor2D;
    done();
  });
  return tf.concat([tf.sum(y, 0), tf.addN(looked)]);
}

describe.skipIf(libraryFolder === null)('layers that are functions of their own', () => {
  const x = (): tf.Tensor2D => random([8, 8], 1);
  const weights = (): tf.Tensor2D[] => Array.from({ length: LAYERS }, (_, layer) => random([8, 8], 2 + layer));
  const row = (index: number): tf.Tensor1D => tf.tensor1d([1, index], 'int32');
  let backend: WhetstoneBackend;
  beforeAll(async () => {
    // Recorded whole, and compiled at first sight.
    backend = await startBackend({ recorder: { maxEagerNodes: 0, firstNodes: 0 } });
  });

  test('give bitwise the same result as one graph per layer, when repeated and when run side by side', async () => {
    const given = { x: x(), weights: weights(), rows: [row(2), row(3)] };
    const whole = (done?: () => void): tf.Tensor =>
      tf.tidy(() => stack(given.x, given.weights, (layer) => given.rows[layer % 2] as tf.Tensor1D, done));
    const expected = await whole(() => backend.barrier()).data();
    expect(expected.every((value) => Number.isFinite(value) && value !== 0)).toBe(true);
    for (let repetition = 0; repetition < 2; repetition++) expect(await whole().data()).toEqual(expected);
    expect(await backend.recordConcurrently(whole).data()).toEqual(expected);
  });

  test('that fail say which operation of which layer it was', async () => {
    for (const bad of [1, 3]) {
      const failing = tf.tidy(() =>
        stack(x(), weights(), (layer) => (layer === bad ? tf.tensor1d([1, 2, 99], 'int32') : row(2))),
      );
      // Three rows are asked for in that layer only.
      await expect(failing.data()).rejects.toMatchObject({
        code: 'BACKEND_FAILED',
        message: expect.stringMatching(/^GatherV2\(float32 \[8, 8\], int32 \[3\]\).*99/) as string,
      });
    }
    const works = tf.tidy(() => stack(x(), weights(), () => row(2)));
    expect((await works.data()).every(Number.isFinite)).toBe(true);
  });

  test("a message of TensorFlow's leads to the operation: steps of a part count from its call", () => {
    expect(namedIn('{{function_node whetstone_1}} 77 is not in [0, 10)\n\t [[{{node step60_0}}]]')).toEqual({
      functionName: 'whetstone_1',
      step: 60,
    });
    const inPart =
      '{{function_node whetstone_1}} {{function_node whetstone_1_part0}} {{function_node whetstone_1_part0}} ' +
      '77 is not in [0, 10)\n\t [[{{node step2_0}}]]';
    expect(namedIn(`${inPart}\n\t [[step24_62]]`)).toEqual({ functionName: 'whetstone_1', step: 26 });
    expect(namedIn(inPart)).toBeNull();
    expect(namedIn('no function')).toBeNull();
  });
});
