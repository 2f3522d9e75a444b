import * as tf from '@tensorflow/tfjs-core';
import { adamwUpdate } from '@whetstone/core/ops/internal';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WhetstoneBackend } from '../../recorder/backend.js';
import { random, startXlaBackend, xlaPlugin } from '../../test-support.js';
import { lower } from './stablehlo/lower.js';
import { adamw } from '../../fused/optimizer.js';

/** Larger than tensors of which the host keeps a copy. */
const size = 10_000;

describe.skipIf(xlaPlugin === null)('results that reuse the memory of spent inputs', () => {
  let backend: WhetstoneBackend;
  beforeAll(async () => {
    backend = await startXlaBackend();
  });

  /** Returns `x · 2 + y`. The tests dispose of `x` before the graph is submitted. */
  const twice = (x: tf.Tensor, y: tf.Tensor): tf.Tensor => tf.tidy(() => tf.add(tf.mul(x, 2), y));

  test('a disposed tensor donates its memory, and the result is correct', () => {
    const y = random([size], 2);
    let x: tf.Tensor = random([size], 1);
    const expected = Float32Array.from(x.dataSync());
    const added = y.dataSync();
    backend.barrier();
    const before = backend.counters().deviceBytes;
    for (let round = 0; round < 3; round++) {
      const next = twice(x, y);
      x.dispose();
      x = next;
      backend.barrier();
      expected.forEach((value, index) => (expected[index] = Math.fround(Math.fround(value * 2) + (added[index] ?? 0))));
      // The result replaces its input.
      expect(backend.counters().deviceBytes).toBe(before);
    }
    expect(x.dataSync()).toEqual(expected);
    tf.dispose([x, y]);
  });

  test('a tensor with a second holder keeps its values, even if the module may reuse its memory', async () => {
    const y = random([size], 4);
    const x = random([size], 3);
    const original = x.dataSync().slice();
    for (const held of [false, true, false]) {
      const input = tf.tidy(() => tf.add(x, 0));
      backend.barrier();
      // A second tensor with the same data, like a checkpoint of the best weights.
      const holder = held ? input.clone() : null;
      const result = twice(input, y);
      input.dispose();
      backend.barrier();
      expect(result.dataSync()[7]).toBe(Math.fround(Math.fround((original[7] ?? 0) * 2) + (y.dataSync()[7] ?? 0)));
      if (holder !== null) expect(holder.dataSync()).toEqual(original);
      tf.dispose([result, ...(holder === null ? [] : [holder])]);
    }
    tf.dispose([x, y]);
  });

  test('an input is not overwritten before a pending read gets its values', async () => {
    const y = random([size], 6);
    for (let round = 0; round < 3; round++) {
      const input = tf.tidy(() => tf.add(random([size], 5), 0));
      const original = input.dataSync().slice();
      const reading = input.data();
      const result = twice(input, y);
      input.dispose();
      backend.barrier();
      expect(await reading).toEqual(original);
      result.dispose();
    }
    y.dispose();
  });

  test('AdamW updates a parameter and its moments in place', () => {
    const variable = (seed: number): tf.Variable => tf.tidy(() => tf.variable(tf.square(random([size], seed))));
    const parameter = variable(7);
    const moments = [variable(8), variable(9)] as const;
    const scalars = { stepSize: tf.scalar(1e-3), decay: tf.scalar(1), correction: tf.scalar(1) };
    const gradient = random([size], 10);
    backend.barrier();
    const before = backend.counters().deviceBytes;
    for (let update = 1; update <= 3; update++) {
      tf.tidy(() => {
        const updated = adamwUpdate(
          { parameter, gradient, firstMoment: moments[0], secondMoment: moments[1] },
          scalars,
          { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
          tf.scalar,
        );
        [parameter, ...moments].forEach((own, index) => own.assign(updated[index] as tf.Tensor));
      });
      backend.barrier();
      expect(backend.counters().deviceBytes).toBe(before);
    }
    tf.dispose([parameter, ...moments, gradient, ...Object.values(scalars)]);
  });
});

test("a module's text aliases an optimizer's results with the inputs that they replace", () => {
  const vector = { type: 'float32' as const, shape: [8] };
  const scalar = { type: 'float32' as const, shape: [] };
  const inputs = [vector, vector, vector, vector, scalar, scalar, scalar].map((input) => ({ ...input, values: null }));
  const step = {
    kernel: adamw,
    parameters: [0.9, 0.999, 1e-8],
    inputs: [0, 1, 2, 3, 4, 5, 6],
    tensorInputs: 7,
    firstOutput: 7,
    outputs: 3,
  };
  const program = {
    name: 'update',
    inputTypes: inputs.map(({ type }) => type),
    steps: [step],
    types: Array.from({ length: 10 }, () => 'float32' as const),
    outputs: [7, 8, 9],
    matmul: 'float32' as const,
  };
  const spent = (...numbers: number[]): string =>
    lower(program, inputs, () => 'AdamW', { spent: new Set(numbers) }).text.split('\n')[0] ?? '';
  const aliases = (head: string): string[] =>
    [...head.matchAll(/%arg(\d): tensor<8xf32> \{tf.aliasing_output = (\d) : i32\}/g)].map(
      ([, input, output]) => `${input} → ${output}`,
    );
  expect(aliases(spent(0, 1, 2, 3))).toEqual(['0 → 0', '2 → 1', '3 → 2']);
  expect(aliases(spent(1, 3))).toEqual(['3 → 2']);
  expect(aliases(spent())).toEqual([]);
});
