import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { setTimeout } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { boundary } from '@whetstone/core/ops/internal';
import type { Engine } from '../engines/engine.js';
import type { Kernel } from '../kernels/kernel.js';
import { createTensorflowEngine } from '../engines/tensorflow/engine.js';
import { createXlaEngine, type XlaEngineOptions } from '../engines/xla/engine.js';
import { createTestBackend, libraryFolder, random, xlaPlugin } from '../test-support.js';
import type { WhetstoneBackend } from './backend.js';
import type { TensorSpec } from './types.js';

// Tests for both engines. All tests of an engine share one backend, so they compare differences of its counters.

const startTensorflow = (): Engine => createTensorflowEngine({ libraryFolder: libraryFolder ?? '' });
const startXla = (options: Partial<XlaEngineOptions> = {}): Engine =>
  createXlaEngine({ plugin: xlaPlugin ?? '', moduleFolder: null, ...options });

const engines = [
  ['tensorflow', libraryFolder !== null, startTensorflow],
  ['xla', xlaPlugin !== null, startXla],
] as const;

/** Runs the garbage collector until `done` returns true, for a few seconds at most. */
async function collectUntil(done: () => boolean): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let round = 0; round < 100 && !done(); round++) {
    collect();
    await setTimeout(20);
  }
}

for (const [name, present, start] of engines) {
  describe.skipIf(!present)(name, () => {
    let backend: WhetstoneBackend;
    beforeAll(async () => {
      backend = await createTestBackend(start());
    });
    afterEach(() => vi.restoreAllMocks());

    test('garbage-collected tensors free their device memory', async () => {
      const before = backend.counters().deviceBytes;
      const ids = backend.numDataIds();
      const leak = (): void => {
        for (let index = 0; index < 10; index++) tf.add(random([100, 100], index), 1).dataSync();
      };
      leak();
      // Twenty tensors of 40,000 bytes.
      expect(backend.counters().deviceBytes - before).toBe(800_000);
      await collectUntil(() => backend.counters().deviceBytes <= before);
      expect(backend.counters().deviceBytes).toBe(before);
      expect(backend.numDataIds()).toBe(ids);
    });

    test('products of integers are exact beyond the integers of float32', () => {
      const large = 2 ** 24 + 1;
      const product = tf.tidy(() =>
        tf.matMul(tf.tensor2d([[large, 2]], [1, 2], 'int32'), tf.tensor2d([[3], [5]], [2, 1], 'int32')),
      );
      expect(product.dtype).toBe('int32');
      expect([...product.dataSync()]).toEqual([3 * large + 10]);
      product.dispose();
    });

    test('a hundred steps of a training loop compile nothing and leak no byte', async () => {
      const x = random<tf.Rank.R2>([16, 8], 1);
      const weight = tf.variable(random([8, 4], 2));
      const optimizer = tf.train.adam(0.01);
      const step = (): void => {
        optimizer.minimize(() => tf.mean(tf.square(tf.matMul(x, weight as tf.Tensor as tf.Tensor2D))) as tf.Scalar);
        backend.barrier();
      };
      for (let index = 0; index < 10; index++) step();
      await backend.settle();
      const { compiles, deviceBytes } = backend.counters();
      const tensors = tf.memory().numTensors;
      for (let index = 0; index < 100; index++) step();
      await backend.settle();
      expect({
        compiles: backend.counters().compiles,
        deviceBytes: backend.counters().deviceBytes,
        tensors: tf.memory().numTensors,
      }).toEqual({ compiles, deviceBytes, tensors });
      tf.dispose([x, weight]);
      optimizer.dispose();
    });

    test('every read of a graph that cannot be compiled names the operation and its shapes', async () => {
      const wrong: Kernel = {
        name: 'Wrong',
        inputs: ['x'],
        eager: false,
        rule: ([x]) => ({ outputs: [x as TensorSpec] }),
        tensorflow: (emit, [x]) => emit.op('NoSuchOp', [x!]),
      };
      const x = random([2, 3], 1);
      const failing = (): tf.TensorInfo => backend.recordKernel(wrong, { x }, {}) as tf.TensorInfo;
      const reason = /Wrong\(float32 \[2, 3\]\).*NoSuchOp/s;
      const [now, later] = [failing(), failing()];
      expect(() => backend.readSync(now.dataId)).toThrow(reason);
      await expect(backend.read(later.dataId)).rejects.toThrow(reason);
      expect(() => backend.readSync(failing().dataId)).toThrow(reason);
      expect([...tf.tidy(() => tf.mul(x, 2)).dataSync()]).toEqual([...x.dataSync()].map((value) => 2 * value));
      x.dispose();
    });

    test('the number of executables is limited', async () => {
      const { size } = backend.recorder.runner.programs;
      expect(size).toBeLessThanOrEqual(256);
    });
  });
}

describe.skipIf(xlaPlugin === null)('graph segments', () => {
  /** Computes six equal layers of twenty operations, with `between` before each. */
  const compute = (between: (x: tf.Tensor) => tf.Tensor, weights: readonly tf.Tensor[]): tf.Tensor =>
    tf.tidy(() =>
      weights.reduce(
        (x, weight) =>
          tf.tidy(() => {
            let y = between(x);
            for (let index = 0; index < 10; index++) y = tf.tanh(tf.mul(y, weight));
            return y;
          }),
        tf.ones([8]),
      ),
    );

  test('equal segments are one program and are submitted while the rest is recorded', async () => {
    const backend = await createTestBackend(startXla({ inSegments: true }), { minSegmentNodes: 20 });
    const weights = Array.from({ length: 6 }, (_, layer) => random([8], layer));
    const whole = compute((x) => x, weights);
    const expected = [...whole.dataSync()];
    const before = backend.counters();
    const inSegments = compute(boundary, weights);
    // The last layer has no boundary after it.
    expect(backend.counters().graphs - before.graphs).toBe(5);
    expect([...inSegments.dataSync()]).toEqual(expected);
    expect(backend.counters()).toMatchObject({ graphs: before.graphs + 6, compiles: before.compiles + 1 });
    tf.dispose([whole, inSegments, ...weights]);
  });

  test('a segment that is too small is submitted with the next', async () => {
    const backend = await createTestBackend(startXla({ inSegments: true }), { minSegmentNodes: 41 });
    const weights = Array.from({ length: 6 }, (_, layer) => random([8], layer));
    const result = compute(boundary, weights);
    // Three layers of twenty operations are a segment.
    expect(backend.counters()).toMatchObject({ graphs: 1, nodes: 60 });
    result.dataSync();
    expect(backend.counters()).toMatchObject({ graphs: 2, nodes: 120 });
    tf.dispose([result, ...weights]);
  });
});

describe.skipIf(xlaPlugin === null)('static shapes', () => {
  test('shapes that never repeat cause one warning with the operation and both shapes', async () => {
    await createTestBackend(startXla());
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const compute = (rows: number): void =>
      tf.tidy(() => {
        let value: tf.Tensor = random([rows, 3], rows);
        for (let index = 0; index < 20; index++) value = tf.tanh(value);
        value.dataSync();
      });
    for (let rows = 2; rows < 11; rows++) compute(rows);
    const warnings = warn.mock.calls
      .map(([message]) => String(message))
      .filter((message) => message.includes('compiled 6 times'));
    warn.mockRestore();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('Tanh(float32 [7, 3]), which was Tanh(float32 [6, 3])');
    expect(warnings[0]).toContain('Pad to a few fixed lengths');
  });
});
