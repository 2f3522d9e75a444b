import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { customGradient } from '../ops/custom-gradient.js';
import { gradientsOf } from './gradients.js';

beforeAll(() => tf.setBackend('cpu'));

const parameters = (): Map<string, tf.Variable> =>
  new Map<string, tf.Variable>([
    [
      'weight',
      tf.variable(
        tf.tensor2d([
          [0.5, -1],
          [2, 0.25],
        ]),
      ),
    ],
    ['bias', tf.variable(tf.tensor1d([0.1, -0.2]))],
    ['unused', tf.variable(tf.scalar(3))],
    ['detached', tf.variable(tf.scalar(4))],
  ]);

const of = (given: ReadonlyMap<string, tf.Variable>, name: string): tf.Tensor => given.get(name) as tf.Tensor;

/** A loss with a weight that is used twice, an operation with two results of which one is used, and unused results. */
function loss(given: ReadonlyMap<string, tf.Variable>): tf.Scalar {
  const input = tf.tensor2d([
    [1, 2],
    [3, -1],
    [0.5, 0.5],
  ]);
  const hidden = tf.tanh(tf.add(tf.matMul(input, of(given, 'weight') as tf.Tensor2D), of(given, 'bias')));
  const [left] = tf.split(tf.matMul(hidden as tf.Tensor2D, of(given, 'weight') as tf.Tensor2D), 2, 1);
  tf.mul(of(given, 'detached'), 2);
  return tf.add(tf.mean(tf.square(left as tf.Tensor)), tf.sum(tf.mul(of(given, 'bias'), of(given, 'bias'))));
}

test('returns the gradients of tfjs-core, bit for bit, and none for parameters without influence on the loss', () => {
  const given = parameters();
  const tensors = tf.memory().numTensors;
  const gradients = gradientsOf(given, () => loss(given));
  const { value, grads } = tf.variableGrads(
    () => loss(given),
    [given.get('weight') as tf.Variable, given.get('bias') as tf.Variable],
  );
  expect([...gradients.keys()]).toEqual(['weight', 'bias']);
  for (const [name, gradient] of gradients)
    expect([...gradient.dataSync()]).toEqual([
      ...(grads[(given.get(name) as tf.Variable).name] as tf.Tensor).dataSync(),
    ]);
  tf.dispose([value, ...Object.values(grads), ...gradients.values()]);
  expect(tf.memory().numTensors).toBe(tensors);
});

test('two parameters that share a gradient get separate tensors', () => {
  const given = new Map([
    ['a', tf.variable(tf.scalar(1))],
    ['b', tf.variable(tf.scalar(2))],
  ]);
  const gradients = gradientsOf(given, () => tf.add(of(given, 'a'), of(given, 'b')) as tf.Scalar);
  (gradients.get('a') as tf.Tensor).dispose();
  expect((gradients.get('b') as tf.Tensor).dataSync()[0]).toBe(1);
  (gradients.get('b') as tf.Tensor).dispose();
});

test('records a gradient within the loss', () => {
  const given = new Map([['x', tf.variable(tf.scalar(3))]]);
  // d/dx (d/dx x³)² = d/dx 9x⁴ = 36x³
  const gradients = gradientsOf(
    given,
    () => tf.square(tf.grad((x: tf.Tensor) => tf.mul(tf.mul(x, x), x))(of(given, 'x'))) as tf.Scalar,
  );
  expect((gradients.get('x') as tf.Tensor).dataSync()[0]).toBeCloseTo(972, 2);
  tf.dispose([...gradients.values()]);
});

test('throws the error of the loss and disposes all tensors', () => {
  const given = parameters();
  const tensors = tf.memory().numTensors;
  expect(() =>
    gradientsOf(given, () => {
      loss(given);
      throw new Error('in the middle');
    }),
  ).toThrow('in the middle');
  expect(tf.memory().numTensors).toBe(tensors);
  // The tape must be off again: the next gradient is computed as usual.
  const gradients = gradientsOf(given, () => loss(given));
  expect(gradients.size).toBe(2);
  tf.dispose([...gradients.values()]);
});

test('the backward pass frees saved and propagated tensors after each operation', () => {
  const given = new Map([['x', tf.variable(tf.ones([64]))]]);
  const bytes: number[] = [];
  const watched = (x: tf.Tensor): tf.Tensor =>
    customGradient(
      [x],
      () => ({ value: tf.mul(x, 2), saved: [x] }),
      (gradient) => {
        bytes.push(tf.memory().numBytes);
        return [tf.mul(gradient, 2)];
      },
    );
  const gradients = gradientsOf(given, () => tf.sum(watched(watched(watched(watched(of(given, 'x')))))) as tf.Scalar);
  expect([...(gradients.get('x') as tf.Tensor).dataSync()]).toEqual(Array.from({ length: 64 }, () => 16));
  // Each gradient sees the four results of the loss, less the tensors saved by later operations: 64 numbers of 4 bytes
  // per operation.
  expect(bytes.slice(1).map((now, index) => (bytes[index] ?? 0) - now)).toEqual([256, 256, 256]);
  tf.dispose([...gradients.values()]);
});

test('the error of an operation without a gradient names it', () => {
  const given = new Map([['x', tf.variable(tf.tensor1d([3, 1]))]]);
  expect(() => gradientsOf(given, () => tf.sum(tf.topk(of(given, 'x')).values) as tf.Scalar)).toThrow(/TopK/);
});
