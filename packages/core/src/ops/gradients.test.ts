import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { beforeAll, describe, expect, it } from 'vitest';
import { activate, activateGated, activationNames, type ActivationName } from './activations.js';
import { adaptedLinear, addLowRank } from './low-rank.js';
import { attention } from './attention.js';
import { gatherRows } from './memory.js';
import { addResidual, layerNormalize, rmsNormalize } from './normalization.js';
import { splitHeads } from './heads.js';

// Expected values: the same formula in plain operations, differentiated by tfjs-core.

beforeAll(async () => {
  await tf.setBackend('cpu');
});

let seed = 0;
const random = (...shape: number[]): tf.Tensor => tf.randomNormal(shape, 0, 1, 'float32', ++seed);

/** Compares values and gradients for one random gradient of the result. Neither function may leak a tensor. */
function expectSame(
  ours: (...inputs: tf.Tensor[]) => tf.Tensor,
  plain: (...inputs: tf.Tensor[]) => tf.Tensor,
  inputs: tf.Tensor[],
): void {
  const gradient = tf.tidy(() => random(...ours(...inputs).shape));
  const before = tf.memory().numTensors;
  tf.tidy(() => {
    const pairs = [ours, plain].map((operation) => [operation(...inputs), ...tf.grads(operation)(inputs, gradient)]);
    const [found = [], expected = []] = pairs;
    for (const [index, tensor] of expected.entries()) {
      expect(found[index]?.shape).toEqual(tensor.shape);
      const difference = tf.max(tf.abs(tf.sub(found[index] ?? NaN, tensor))).dataSync()[0];
      expect(difference, index === 0 ? 'value' : `gradient ${index}`).toBeLessThan(2e-5);
    }
  });
  expect(tf.memory().numTensors).toBe(before);
  tf.dispose([gradient, ...inputs]);
}

const rmsPlain = (x: tf.Tensor): tf.Tensor => tf.div(x, tf.sqrt(tf.add(tf.mean(tf.square(x), -1, true), 1e-5)));

function layerPlain(x: tf.Tensor): tf.Tensor {
  const { mean, variance } = tf.moments(x, -1, true);
  return tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)));
}

const plainActivations: Record<ActivationName, (x: tf.Tensor) => tf.Tensor> = {
  silu: (x) => tf.mul(x, tf.sigmoid(x)),
  swish: (x) => tf.mul(x, tf.sigmoid(x)),
  gelu: (x) => tf.mul(tf.mul(x, 0.5), tf.add(1, tf.erf(tf.div(x, Math.SQRT2)))),
  gelu_new: (x) =>
    tf.mul(
      tf.mul(x, 0.5),
      tf.add(1, tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.pow(x, 3)))))),
    ),
  gelu_pytorch_tanh: (x) => plainActivations.gelu_new(x),
  relu: (x) => tf.relu(x),
};

describe('operations with custom gradients', () => {
  it('rmsNormalize', () =>
    expectSame(
      (x = tf.scalar(0)) => rmsNormalize(x, 1e-5),
      (x = tf.scalar(0)) => rmsPlain(x),
      [random(5, 7)],
    ));
  it('rmsNormalize with a weight', () =>
    expectSame(
      (x = tf.scalar(0), weight = tf.scalar(0)) => rmsNormalize(x, 1e-5, weight),
      (x = tf.scalar(0), weight = tf.scalar(0)) => tf.mul(rmsPlain(x), weight),
      [random(2, 5, 7), random(7)],
    ));
  it('addResidual', () =>
    expectSame(
      (x = tf.scalar(0), branch = tf.scalar(0)) => addResidual(x, branch),
      (x = tf.scalar(0), branch = tf.scalar(0)) => tf.add(x, branch),
      [random(5, 7), random(5, 7)],
    ));
  it('layerNormalize', () =>
    expectSame(
      (x = tf.scalar(0)) => layerNormalize(x, 1e-5),
      (x = tf.scalar(0)) => layerPlain(x),
      [random(5, 7)],
    ));

  it.each(activationNames)('activate %s, alone and gated', (name) => {
    expectSame(
      (x = tf.scalar(0)) => activate(x, name),
      (x = tf.scalar(0)) => plainActivations[name](x),
      [random(4, 9)],
    );
    expectSame(
      (gate = tf.scalar(0), up = tf.scalar(0)) => activateGated(gate, up, name),
      (gate = tf.scalar(0), up = tf.scalar(0)) => tf.mul(plainActivations[name](gate), up),
      [random(4, 9), random(4, 9)],
    );
  });

  it.each([
    [8, 8],
    [4, 8],
  ])('splitHeads, rotating %i of %i features', (rotated, headDim) => {
    const angles = random(2, 1, 3, rotated / 2);
    const rest = headDim - rotated;
    const cos = tf.concat([tf.cos(angles), tf.cos(angles), tf.ones([2, 1, 3, rest])], 3) as tf.Tensor4D;
    const sin = tf.concat([tf.neg(tf.sin(angles)), tf.sin(angles), tf.zeros([2, 1, 3, rest])], 3) as tf.Tensor4D;
    const plain = (x: tf.Tensor): tf.Tensor => {
      const heads = tf.transpose(tf.reshape(x, [2, 3, 5, headDim]), [0, 2, 1, 3]);
      const [first, second, unrotated] = tf.split(heads, [rotated / 2, rotated / 2, rest], 3) as [
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
      ];
      const [c, s] = [tf.cos(angles), tf.sin(angles)];
      return tf.concat(
        [tf.sub(tf.mul(first, c), tf.mul(second, s)), tf.add(tf.mul(second, c), tf.mul(first, s)), unrotated],
        3,
      );
    };
    expectSame(
      (x = tf.scalar(0)) => splitHeads(x as tf.Tensor2D, 2, headDim, { rotation: { tables: { cos, sin }, rotated } }),
      (x = tf.scalar(0)) => plain(x),
      [random(2 * 3, 5 * headDim)],
    );
    tf.dispose([angles, cos, sin]);
  });

  it.each([null, 1.5])('attention with grouped heads and soft cap %s', (softCap) => {
    const [rows, heads, keyValueHeads, length, keys, headDim] = [2, 6, 2, 3, 4, 5];
    const groups = heads / keyValueHeads;
    const visible = tf.cast(tf.greater(random(rows, 1, length, keys), -0.5), 'float32');
    const mask = tf.mul(tf.sub(visible, 1), 1e9);
    const bias: tf.Tensor3D = tf.reshape(tf.tile(mask as tf.Tensor4D, [1, heads, 1, 1]), [
      rows * keyValueHeads,
      groups * length,
      keys,
    ]);
    const perHead = (x: tf.Tensor): tf.Tensor =>
      tf.concat(
        tf.split(x, keyValueHeads, 1).flatMap((head) => Array.from({ length: groups }, () => head)),
        1,
      );
    const plain = (query: tf.Tensor, key: tf.Tensor, value: tf.Tensor): tf.Tensor => {
      const raw = tf.matMul(query, perHead(key), false, true);
      const scores = softCap === null ? raw : tf.mul(tf.tanh(tf.div(raw, softCap)), softCap);
      const result = tf.matMul(tf.softmax(tf.add(scores, mask)), perHead(value));
      return tf.reshape(tf.transpose(result, [0, 2, 1, 3]), [rows * length, heads * headDim]);
    };
    expectSame(
      (query, key, value) => attention(query as tf.Tensor4D, key as tf.Tensor4D, value as tf.Tensor4D, bias, softCap),
      (query = tf.scalar(0), key = tf.scalar(0), value = tf.scalar(0)) => plain(query, key, value),
      [
        random(rows, heads, length, headDim),
        random(rows, keyValueHeads, keys, headDim),
        random(rows, keyValueHeads, keys, headDim),
      ],
    );
    tf.dispose([visible, mask, bias]);
  });

  it('splitHeads', () =>
    expectSame(
      (x) => splitHeads(x as tf.Tensor2D, 2, 4),
      (x = tf.scalar(0)) => tf.transpose(tf.reshape(x, [2, 3, 5, 4]), [0, 2, 1, 3]),
      [random(6, 20)],
    ));

  it.each([null, 0.25])('addLowRank with scale %s', (factor) => {
    const scale = factor === null ? null : tf.scalar(factor);
    expectSame(
      (base, x, a, b) => addLowRank(base as tf.Tensor2D, x as tf.Tensor2D, a as tf.Tensor2D, b as tf.Tensor2D, scale),
      (base = tf.scalar(0), x = tf.scalar(0), a = tf.scalar(0), b = tf.scalar(0)) =>
        tf.add(base, tf.mul(tf.matMul(tf.matMul(x, a, false, true), b, false, true), factor ?? 1)),
      [random(5, 7), random(5, 6), random(2, 6), random(7, 2)],
    );
    scale?.dispose();
  });

  it.each([
    { factor: null, fanInFanOut: false },
    { factor: 0.25, fanInFanOut: false },
    { factor: 0.25, fanInFanOut: true },
  ])('adaptedLinear with %o', ({ factor, fanInFanOut }) => {
    const scale = factor === null ? null : tf.scalar(factor);
    const plain = (x: tf.Tensor, weight: tf.Tensor, a: tf.Tensor, b: tf.Tensor): tf.Tensor =>
      tf.add(
        tf.matMul(x, weight, false, !fanInFanOut),
        tf.mul(tf.matMul(tf.matMul(x, a, false, true), b, false, true), factor ?? 1),
      );
    const ours = (x: tf.Tensor, weight: tf.Tensor, a: tf.Tensor, b: tf.Tensor, bias: tf.Tensor | null): tf.Tensor =>
      adaptedLinear(
        x as tf.Tensor2D,
        { weight: weight as tf.Tensor2D, fanInFanOut, bias },
        { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale },
      );
    const inputs = (): tf.Tensor[] => [
      random(5, 6),
      fanInFanOut ? random(6, 7) : random(7, 6),
      random(2, 6),
      random(7, 2),
    ];
    const none = tf.scalar(0);
    expectSame(
      (x = none, weight = none, a = none, b = none) => ours(x, weight, a, b, null),
      (x = none, weight = none, a = none, b = none) => plain(x, weight, a, b),
      inputs(),
    );
    expectSame(
      (x = none, weight = none, a = none, b = none, bias = none) => ours(x, weight, a, b, bias),
      (x = none, weight = none, a = none, b = none, bias = none) => tf.add(plain(x, weight, a, b), bias),
      [...inputs(), random(7)],
    );
    tf.dispose([none, scale ?? []]);
  });

  it('gatherRows, with repeated rows', () => {
    const indices = tf.tensor1d([3, 0, 3, 3, 1], 'int32');
    const chosen = tf.oneHot(indices, 4);
    expectSame(
      (table) => gatherRows(table as tf.Tensor2D, indices),
      (table = tf.scalar(0)) => tf.matMul(tf.cast(chosen, 'float32'), table),
      [random(4, 3)],
    );
    tf.dispose([indices, chosen]);
  });
});
