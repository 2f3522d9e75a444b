import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { attention, type AttentionBlock } from '@whetstone/core/ops';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, random, startBackend } from '../test-support.js';
import { registerGradients } from '../tfjs-patches/gradients.js';

const [rows, groups, keyValueHeads, width] = [2, 3, 2, 4];

/** Returns query blocks of one size. Each sees keys from `first(begin)` to its own end, and `before` earlier keys. */
function blocksOf(length: number, size: number, before: number, first: (begin: number) => number): AttentionBlock[] {
  return Array.from({ length: Math.ceil(length / size) }, (_, index) => {
    const end = Math.min(length, (index + 1) * size);
    const firstKey = first(index * size);
    return { queries: end - index * size, firstKey, keys: before + end - firstKey };
  });
}

/** Returns a causal bias with `before` earlier keys and a sliding window. */
function biasOf(length: number, before: number, window: number): tf.Tensor3D {
  const values = new Float32Array(length * (before + length)).map((_, at) => {
    const distance = before + Math.floor(at / (before + length)) - (at % (before + length));
    return distance >= 0 && distance < window ? 0 : -1e9;
  });
  return tf.tile(tf.tensor3d(values, [1, length, before + length]), [rows * keyValueHeads, groups, 1]);
}

function valueAndGradients(
  length: number,
  before: number,
  window: number,
  softCap: number | null,
  blocks: readonly AttentionBlock[] | null,
): number[][] {
  return tf.tidy(() => {
    const inputs = [
      random([rows, groups * keyValueHeads, length, width], 1),
      random([rows, keyValueHeads, before + length, width], 2),
      random([rows, keyValueHeads, before + length, width], 3),
    ];
    const bias = biasOf(length, before, window);
    const compute = (query?: tf.Tensor, key?: tf.Tensor, value?: tf.Tensor): tf.Tensor =>
      attention(tf.mul(query!, 3) as tf.Tensor4D, key as tf.Tensor4D, value as tf.Tensor4D, bias, softCap, blocks);
    const { value, grads } = tf.valueAndGrads((...operands: tf.Tensor[]) =>
      tf.sum(tf.mul(compute(...operands), random([rows * length, groups * keyValueHeads * width], 9))),
    )(inputs);
    return [compute(...inputs), value, ...grads].map((tensor) => [...tensor.dataSync()]);
  });
}

describe.skipIf(libraryFolder === null)('attention in blocks equals plain operations', () => {
  beforeAll(async () => {
    await tf.setBackend('cpu');
    registerGradients();
  });

  const cases = {
    'one block': { length: 6, before: 0, window: Infinity, softCap: null, blocks: null },
    'causal blocks, the last of which is shorter': {
      length: 11,
      before: 0,
      window: Infinity,
      softCap: null,
      blocks: blocksOf(11, 3, 0, () => 0),
    },
    'earlier keys': {
      length: 8,
      before: 5,
      window: Infinity,
      softCap: null,
      blocks: blocksOf(8, 4, 5, () => 0),
    },
    'a sliding window': {
      length: 12,
      before: 0,
      window: 4,
      softCap: null,
      blocks: blocksOf(12, 3, 0, (begin) => Math.max(0, begin - 3)),
    },
    'a soft cap': { length: 9, before: 2, window: Infinity, softCap: 1.5, blocks: blocksOf(9, 3, 2, () => 0) },
  } as const;

  for (const [name, { length, before, window, softCap, blocks }] of Object.entries(cases)) {
    test(name, async () => {
      await tf.setBackend('cpu');
      const expected = valueAndGradients(length, before, window, softCap, blocks);
      await startBackend();
      const tensors = tf.memory().numTensors;
      const found = valueAndGradients(length, before, window, softCap, blocks);
      expect(tf.memory().numTensors).toBe(tensors);
      found.forEach((values, index) =>
        values.forEach((value, position) => expect(value).toBeCloseTo(expected[index]?.[position] ?? NaN, 4)),
      );
    });
  }
});
