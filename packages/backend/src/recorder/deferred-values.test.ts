import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { createTensorflowEngine } from '../engines/tensorflow/engine.js';
import { createTestBackend, libraryFolder, random } from '../test-support.js';
import type { WhetstoneBackend } from './backend.js';
import { seededIntegers } from './test-support.js';

const start = (): Promise<WhetstoneBackend> =>
  createTestBackend(createTensorflowEngine({ libraryFolder: libraryFolder ?? '' }), { minDeferredBytes: 0 });

const SIDE = 256;
const BYTES = 4 * SIDE * SIDE;

describe.skipIf(libraryFolder === null)('a read within tf.tidy', () => {
  test('keeps no intermediate value that only the scope holds', async () => {
    const backend = await start();
    const x = random([SIDE, SIDE], 1);
    tf.tidy(() => {
      let y = x;
      for (let index = 0; index < 20; index++) y = tf.tanh(y);
      tf.sum(y).dataSync();
      // The input and the sum.
      expect(backend.counters()).toMatchObject({ deviceBytes: BYTES + 4, peakDeviceBytes: BYTES + 4, nodes: 21 });
      // A second read does not compute the first chain again.
      tf.sum(tf.square(x)).dataSync();
      expect(backend.counters()).toMatchObject({ deviceBytes: BYTES + 8, nodes: 23 });
    });
    expect(backend.counters().deviceBytes).toBe(BYTES);
    x.dispose();
    expect(backend.counters().deviceBytes).toBe(0);
    expect(backend.numDataIds()).toBe(0);
  });

  test('keeps values that are kept or read, and values that no operation has used', async () => {
    const backend = await start();
    const x = random([SIDE, SIDE], 1);
    const kept = tf.tidy(() => {
      const keptOne = tf.keep(tf.tanh(x));
      const leaf = tf.square(x);
      const deferred = tf.exp(x);
      tf.sum(tf.add(deferred, keptOne)).dataSync();
      // x, the kept value and the leaf. The exponential and the sum of both are deferred.
      expect(backend.counters().deviceBytes).toBe(3 * BYTES + 4);
      expect(leaf.dataSync()[0]).toBeCloseTo((x.dataSync()[0] ?? NaN) ** 2, 6);
      return keptOne;
    });
    expect(backend.counters().deviceBytes).toBe(2 * BYTES);
    tf.dispose([x, kept]);
    expect(backend.counters().deviceBytes).toBe(0);
  });

  test('recomputes a deferred value that is needed later, and does not defer it again', async () => {
    const backend = await start();
    const first = random([SIDE, SIDE], 1);
    const expected = Array.from(first.dataSync(), (value) => 2 * Math.fround(value + 1));
    const twice = (x: tf.Tensor): void =>
      tf.tidy(() => {
        const moved = tf.add(x, 1);
        tf.sum(moved).dataSync();
        x.dispose();
        const doubled = tf.mul(moved, 2).dataSync();
        for (let index = 0; index < expected.length; index += 997)
          expect(doubled[index]).toBeCloseTo(expected[index] ?? NaN, 5);
      });
    twice(first);
    expect(backend.counters()).toMatchObject({ nodes: 4, deviceBytes: 0 });
    twice(random([SIDE, SIDE], 1));
    expect(backend.counters()).toMatchObject({ nodes: 4 + 3, deviceBytes: 0 });
    // The same if the scope returns the value.
    const returned = (): void =>
      tf.tidy(() => {
        const moved = tf.tidy(() => {
          const made = tf.exp(random([SIDE, SIDE], 1));
          tf.mean(made).dataSync();
          return made;
        });
        expect(moved.dataSync()[0]).toBeCloseTo(Math.exp(expected[0] === undefined ? NaN : expected[0] / 2 - 1), 4);
      });
    for (const nodes of [3, 2]) {
      const before = backend.counters().nodes;
      returned();
      expect(backend.counters().nodes - before).toBe(nodes);
    }
    // A loop with a carried value recomputes it once, not in every round.
    const before = backend.counters().nodes;
    tf.tidy(() => {
      let state = random([SIDE, SIDE], 3);
      for (let round = 0; round < 20; round++) {
        state = tf.tanh(state);
        tf.sum(tf.square(state)).dataSync();
      }
    });
    expect(backend.counters().nodes - before).toBeLessThan(3 * 20 + 5);
    expect(backend.counters().deviceBytes).toBe(0);
  });

  test('equals the cpu backend for random orders of reads, keeps and disposals', async () => {
    const runProgram = (seed: number): number[] => {
      const draw = seededIntegers(seed);
      const read: number[] = [];
      const outside: tf.Tensor[] = [];
      tf.tidy(() => {
        const values: tf.Tensor[] = [random([6, 6], 1), random([6, 6], 2)];
        const any = (): tf.Tensor => values[draw(values.length)] as tf.Tensor;
        const actions = [
          () => values.push(tf.tanh(any())),
          () => values.push(tf.mul(any(), any())),
          () => values.push(tf.reshape(tf.add(tf.reshape(any(), [4, 9]), 0.1), [6, 6])),
          () => values.push(tf.tidy(() => tf.sub(tf.tanh(any()), any()))),
          () => read.push(...tf.sum(any()).dataSync()),
          () => read.push(...any().dataSync().slice(0, 2)),
          () => values.length > 3 && values.splice(draw(values.length), 1)[0]?.dispose(),
          () => outside.push(tf.keep(tf.add(any(), 1))),
          () => 'barrier' in tf.backend() && (tf.backend() as WhetstoneBackend).barrier(),
        ];
        for (let step = 0; step < 60; step++) actions[draw(actions.length)]?.();
        for (const value of values) read.push(...value.dataSync().slice(0, 3));
      });
      for (const tensor of outside) read.push(...tensor.dataSync().slice(0, 3));
      tf.dispose(outside);
      return read;
    };
    await tf.setBackend('cpu');
    const expected = Array.from({ length: 40 }, (_, seed) => runProgram(seed + 1));
    const backend = await start();
    for (const [seed, values] of expected.entries()) {
      const found = runProgram(seed + 1);
      expect(found).toHaveLength(values.length);
      for (const [index, value] of values.entries())
        expect(found[index], `number ${index} of program ${seed + 1}`).toBeCloseTo(value, 4);
      expect(backend.counters().deviceBytes, `after program ${seed + 1}`).toBe(0);
      expect(backend.numDataIds()).toBe(0);
    }
  });
});
