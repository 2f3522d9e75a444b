import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { libraryFolder, startBackend } from '../test-support.js';

describe.skipIf(libraryFolder === null)('tfjs-core\'s engine on the short way', () => {
  it('gives gradients, those of gradients too, and leaves no tensor', async () => {
    await startBackend();
    const x = tf.tensor1d([1, -2, 3]);
    const before = tf.memory();
    // d x³ = 3x², and of its sum 6x.
    const cube = (given: tf.Tensor): tf.Tensor => tf.mul(tf.mul(given, given), given);
    const first = tf.grad(cube)(x);
    const second = tf.grad((given) => tf.sum(tf.grad(cube)(given)))(x);
    expect([[...first.dataSync()], [...second.dataSync()]]).toEqual([[3, 12, 27], [6, -12, 18]]);
    tf.dispose([first, second]);
    expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
    x.dispose();
  });

  it('has no place on the tape for what a gradient saves, and profiles all the same', async () => {
    await startBackend();
    const x = tf.tensor1d([1, -2, 3]);
    const { activeTape } = await new Promise<{ activeTape: readonly string[] }>((resolve) => {
      tf.grad((given) => {
        const value = tf.sum(tf.mul(given, given)) as tf.Scalar;
        resolve({ activeTape: tf.engine().state.activeTape.map(({ kernelName }) => kernelName) });
        return value;
      })(x).dispose();
    });
    expect(activeTape).toEqual(['Multiply', 'Sum']);
    const { kernelNames } = await tf.profile(() => tf.tidy(() => tf.square(x)));
    expect(kernelNames).toEqual(['Square']);
    x.dispose();
  });

  it('ends a scope with one result as tfjs-core does: the result lives on, in the scope around it', async () => {
    await startBackend();
    const before = tf.memory().numTensors;
    let inner: tf.Tensor | undefined;
    const result = tf.tidy(() => {
      inner = tf.tidy(() => tf.add(tf.square(tf.scalar(3)), 1));
      expect(inner.isDisposed).toBe(false);
      return tf.mul(inner, 2);
    });
    expect([inner?.isDisposed, result.dataSync()[0], tf.memory().numTensors]).toEqual([true, 20, before + 1]);
    result.dispose();
  });
});
