import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WhetstoneBackend } from '../../recorder/backend.js';
import { libraryFolder, random, startBackend } from '../../test-support.js';
import { failedStepIn } from './status.js';

const LAYERS = 6;

/**
 * Returns the result of a stack of layers with about forty operations each. Each layer gathers the rows that `rowsOf`
 * returns; the gathered rows of all layers are added at the end. `done` is called after each layer.
 */
function stack(
  x: tf.Tensor2D,
  weights: readonly tf.Tensor2D[],
  rowsOf: (layer: number) => tf.Tensor1D,
  done = () => {},
): tf.Tensor {
  const gathered: tf.Tensor[] = [];
  let y: tf.Tensor2D = x;
  weights.forEach((weight, layer) => {
    for (let round = 0; round < 5; round++) {
      const product = tf.matMul(y, weight) as tf.Tensor2D;
      const scaled = tf.mul(tf.tanh(product), tf.sigmoid(y));
      y = tf.sub(tf.add(y, scaled), tf.square(tf.relu(scaled)));
    }
    const rows = tf.gather(y, rowsOf(layer));
    gathered.push(tf.sum(tf.softmax(rows), 0));
    y = tf.add(y, tf.mean(rows, 0)) as tf.Tensor2D;
    done();
  });
  return tf.concat([tf.sum(y, 0), tf.addN(gathered)]);
}

describe.skipIf(libraryFolder === null)('layers that are extracted as functions', () => {
  const x = (): tf.Tensor2D => random([8, 8], 1);
  const weights = (): tf.Tensor2D[] => Array.from({ length: LAYERS }, (_, layer) => random([8, 8], 2 + layer));
  const row = (index: number): tf.Tensor1D => tf.tensor1d([1, index], 'int32');
  let backend: WhetstoneBackend;
  beforeAll(async () => {
    // Recorded as one graph, and compiled at the first run.
    backend = await startBackend({ recorder: { maxEagerNodes: 0, firstNodes: 0 } });
  });

  test('give the same bits as one graph per layer, when repeated and when run concurrently', async () => {
    const operands = { x: x(), weights: weights(), rows: [row(2), row(3)] };
    const compute = (done?: () => void): tf.Tensor =>
      tf.tidy(() => stack(operands.x, operands.weights, (layer) => operands.rows[layer % 2] as tf.Tensor1D, done));
    const expected = await compute(() => backend.barrier()).data();
    expect(expected.every((value) => Number.isFinite(value) && value !== 0)).toBe(true);
    for (let repetition = 0; repetition < 2; repetition++) expect(await compute().data()).toEqual(expected);
    expect(await backend.recordConcurrently(compute).data()).toEqual(expected);
  });

  test('report which operation of which layer failed', async () => {
    for (const bad of [1, 3]) {
      const failing = tf.tidy(() =>
        stack(x(), weights(), (layer) => (layer === bad ? tf.tensor1d([1, 2, 99], 'int32') : row(2))),
      );
      // Only that layer gathers three rows.
      await expect(failing.data()).rejects.toMatchObject({
        code: 'BACKEND_FAILED',
        message: expect.stringMatching(/^GatherV2\(float32 \[8, 8\], int32 \[3\]\).*99/) as string,
      });
    }
    const works = tf.tidy(() => stack(x(), weights(), () => row(2)));
    expect((await works.data()).every(Number.isFinite)).toBe(true);
  });

  test("are found from TensorFlow's messages: their steps count from the call", () => {
    expect(failedStepIn('{{function_node whetstone_1}} 77 is not in [0, 10)\n\t [[{{node step60_0}}]]')).toEqual({
      functionName: 'whetstone_1',
      step: 60,
    });
    const inCallee =
      '{{function_node whetstone_1}} {{function_node whetstone_1_callee0}} {{function_node whetstone_1_callee0}} ' +
      '77 is not in [0, 10)\n\t [[{{node step2_0}}]]';
    expect(failedStepIn(`${inCallee}\n\t [[step24_62]]`)).toEqual({ functionName: 'whetstone_1', step: 26 });
    expect(failedStepIn(inCallee)).toBeNull();
    expect(failedStepIn('no function')).toBeNull();
  });
});
