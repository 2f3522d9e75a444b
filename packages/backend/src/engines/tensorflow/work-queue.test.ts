import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { Kernel } from '../../kernels/kernel.js';
import { WhetstoneBackend } from '../../recorder/backend.js';
import type { RecorderOptions } from '../../recorder/recorder.js';
import { libraryFolder, random, startBackend } from '../../test-support.js';
import { createTensorflowEngine } from './engine.js';

/** Returns the squared gradient of a deep chain of products: many operations that take a while. */
function work(layers: number, seed: number): tf.Tensor {
  return tf.tidy(() => {
    const x = random<tf.Rank.R2>([256, 256], seed);
    const w = random<tf.Rank.R2>([256, 256], 2);
    const deep = (input: tf.Tensor2D): tf.Scalar => {
      let y = input;
      for (let layer = 0; layer < layers; layer++)
        y = tf.mul(tf.tanh(tf.matMul(tf.sub(tf.mul(y, 0.5), tf.mul(tf.square(y), 0.1)), w)), 0.3);
      return tf.sum(y);
    };
    return tf.sum(tf.square(tf.grad(deep as (input: tf.Tensor) => tf.Scalar)(x)));
  });
}

/**
 * Runs `begin` with a timer of 10 ms. Returns how often the timer ran, its longest pause and the total time, in
 * milliseconds.
 */
async function longestPause(
  begin: () => Promise<unknown>,
): Promise<{ readonly ticks: number; readonly longest: number; readonly total: number }> {
  const started = performance.now();
  let [ticks, longest, last] = [0, 0, started];
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    ticks++;
  }, 10);
  await begin();
  clearInterval(timer);
  return { ticks, longest, total: performance.now() - started };
}

const fresh = (recorder: RecorderOptions = { maxEagerNodes: 0 }): WhetstoneBackend =>
  new WhetstoneBackend(createTensorflowEngine({ libraryFolder: libraryFolder ?? '' }), recorder);

/** Returns a kernel of one TensorFlow op with one operand. */
const unary = (op: string): Kernel => ({
  name: op,
  inputs: ['x'],
  rule: ([x]) => ({ outputs: [x ?? { shape: [], dtype: 'float32' }] }),
  tensorflow: (emit, [x]) => emit.op(op, [x!]),
});

function chainOn(backend: WhetstoneBackend, first: tf.TensorInfo, kernels: readonly Kernel[]): tf.TensorInfo[] {
  const chain = [first];
  for (const kernel of kernels) {
    chain.push(backend.recordKernel(kernel, { x: chain.at(-1) }, {}) as tf.TensorInfo);
    backend.barrier();
  }
  return chain;
}

describe.skipIf(libraryFolder === null)('the queue of the tensorflow engine', () => {
  test(
    'a timer runs while a graph is compiled and computed, the first time and later',
    { timeout: 120_000 },
    async () => {
      const backend = await startBackend();
      for (const [seed, compiles] of [
        [1, 1],
        [2, 0],
        [3, 0],
      ] as const) {
        const before = backend.counters().compiles;
        // Recording blocks the event loop, so it is not measured.
        const result = work(120, seed);
        const { ticks, longest, total } = await longestPause(() => result.data());
        expect(ticks).toBeGreaterThan(3);
        expect(longest).toBeLessThan(total / 2);
        expect(backend.counters().compiles - before).toBe(compiles);
        result.dispose();
      }
    },
  );

  test('results are correct in any order of reads, synchronous or not; no memory stays allocated', async () => {
    const backend = fresh();
    const chain = chainOn(
      backend,
      backend.makeTensorInfo([3], 'float32', Float32Array.of(1, 2, 3)),
      ['Neg', 'Abs', 'Square', 'Neg', 'Exp'].map(unary),
    );
    const [, second, third, , fifth, last] = chain.map(({ dataId }) => dataId);
    const later = backend.read(last ?? {});
    // Half of the queue is not built yet: a synchronous read does not wait for the event loop.
    expect([...(backend.readSync(third ?? {}) as Float32Array)]).toEqual([1, 2, 3]);
    expect(Array.from((await later) as Float32Array, (value) => Math.log(value))).toEqual(
      [-1, -4, -9].map((value) => expect.closeTo(value, 4) as number),
    );
    expect([...((await backend.read(second ?? {})) as Float32Array)]).toEqual([-1, -2, -3]);
    expect([...(backend.readSync(fifth ?? {}) as Float32Array)]).toEqual([-1, -4, -9]);
    for (const { dataId } of chain) backend.disposeData(dataId);
    await backend.settle();
    expect(backend.counters().deviceBytes).toBe(0);
  });

  test('a synchronous read gets a result whose first run another thread submits', { timeout: 120_000 }, async () => {
    const backend = await startBackend();
    // Turns of the event loop before the read: some reads come while the first run is submitted, others before or
    // after.
    for (const turns of [0, 20, 40, 80, 160]) {
      const result = work(20 + turns / 2, 5);
      const later = result.data();
      for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
      const [synchronous = NaN] = result.dataSync();
      expect(synchronous).not.toBeNaN();
      expect((await later)[0]).toBe(synchronous);
      result.dispose();
    }
    await backend.settle();
  });

  test('a loop that never yields to the event loop is computed, and disposed tensors are freed', async () => {
    const backend = fresh();
    const negate = unary('Neg');
    let x = backend.makeTensorInfo([2], 'float32', Float32Array.of(1, 2));
    for (let step = 0; step < 100; step++) {
      const [, next] = chainOn(backend, x, [negate]);
      backend.disposeData(x.dataId);
      x = next as tf.TensorInfo;
    }
    expect([...(backend.readSync(x.dataId) as Float32Array)]).toEqual([1, 2]);
    expect(backend.counters()).toMatchObject({ graphs: 100, compiles: 1, deviceBytes: 8 });
  });

  test('a failed computation fails its own results and all that depend on them, and no others', async () => {
    const backend = fresh();
    // TensorFlow does not know the op and fails when it builds the function.
    const x = backend.makeTensorInfo([2], 'float32', Float32Array.of(1, 2));
    const [, failed, dependent] = chainOn(backend, x, [unary('NoSuchOp'), unary('Neg')]) as [
      tf.TensorInfo,
      tf.TensorInfo,
      tf.TensorInfo,
    ];
    const [, fine] = chainOn(backend, x, [unary('Neg')]) as [tf.TensorInfo, tf.TensorInfo];
    await expect(backend.read(dependent.dataId)).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringContaining('NoSuchOp(float32 [2])') as string,
    });
    expect(() => backend.readSync(failed.dataId)).toThrow(/NoSuchOp\(float32 \[2\]\)/);
    expect([...((await backend.read(fine.dataId)) as Float32Array)]).toEqual([-1, -2]);
    // A second attempt fails, too.
    const [, again] = chainOn(backend, x, [unary('NoSuchOp')]) as [tf.TensorInfo, tf.TensorInfo];
    expect(() => backend.readSync(again.dataId)).toThrow(/NoSuchOp\(float32 \[2\]\)/);
  });
});
