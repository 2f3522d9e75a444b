import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { WhetstoneBackend } from '../../recorder/backend.js';
import { random, startXlaBackend, xlaPlugin } from '../../test-support.js';
import { createXlaEngine } from './engine.js';

/** Returns the sum of a long chain of products. A new `length` is compiled first. */
function work(length: number): tf.Tensor {
  return tf.tidy(() => {
    let x = random<tf.Rank.R2>([600, 600], length);
    const y = random<tf.Rank.R2>([600, 600], 2);
    for (let step = 0; step < length; step++) x = tf.mul(tf.tanh(tf.matMul(x, y)), step + 1);
    return tf.sum(x);
  });
}

/** Runs `begin` with a timer. Returns how often the timer ran, and its longest pause in milliseconds. */
async function longestPause(
  begin: () => Promise<unknown>,
): Promise<{ readonly ticks: number; readonly longest: number }> {
  let [ticks, longest, last] = [0, 0, performance.now()];
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    ticks++;
  }, 1);
  await begin();
  clearInterval(timer);
  return { ticks, longest };
}

describe.skipIf(xlaPlugin === null)('the queue of the xla engine', () => {
  test('lets timers run while it compiles and computes', { timeout: 120_000 }, async () => {
    // Without modules on disk, so that it compiles.
    const backend = await startXlaBackend({ moduleFolder: null });
    const compiled = backend.counters().compiles;
    const result = work(90);
    const started = performance.now();
    const { ticks, longest } = await longestPause(() => result.data());
    const total = performance.now() - started;
    // Lowering runs on this thread. It takes a small fraction of the time.
    expect(ticks).toBeGreaterThan(5);
    expect(longest).toBeLessThan(total / 2);
    expect(backend.counters().compiles).toBe(compiled + 1);
    result.dispose();
  });

  test('returns correct results in any order of reads, synchronous or not', async () => {
    const backend = new WhetstoneBackend(createXlaEngine({ plugin: xlaPlugin ?? '', moduleFolder: null }));
    const double = {
      name: 'Double',
      inputs: ['x'],
      rule: ([x]: readonly { shape: readonly number[]; dtype: tf.DataType }[]) => ({
        outputs: [x ?? { shape: [], dtype: 'float32' as const }],
      }),
      tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T =>
        emit.op('AddV2', [x as T, x as T]),
    };
    const chain: tf.TensorInfo[] = [backend.makeTensorInfo([3], 'float32', Float32Array.of(1, 2, 3))];
    for (let step = 0; step < 4; step++) {
      chain.push(backend.recordKernel(double, { x: chain.at(-1) as tf.TensorInfo }, {}) as tf.TensorInfo);
      backend.barrier();
    }
    const [, second, third, , last] = chain as [
      tf.TensorInfo,
      tf.TensorInfo,
      tf.TensorInfo,
      tf.TensorInfo,
      tf.TensorInfo,
    ];
    const later = backend.read(last.dataId);
    // Half of the queue is not compiled yet: a synchronous read does not wait for the event loop.
    expect([...(backend.readSync(third.dataId) as Float32Array)]).toEqual([4, 8, 12]);
    expect([...((await later) as Float32Array)]).toEqual([16, 32, 48]);
    expect([...((await backend.read(second.dataId)) as Float32Array)]).toEqual([2, 4, 6]);
    for (const { dataId } of chain) backend.disposeData(dataId);
    await backend.settle();
    expect(backend.counters().deviceBytes).toBe(0);
  });

  test('a failed computation fails its own results and all that depend on them, and no others', async () => {
    const backend = new WhetstoneBackend(createXlaEngine({ plugin: xlaPlugin ?? '', moduleFolder: null }));
    const copy = ([x]: readonly { shape: readonly number[]; dtype: tf.DataType }[]) => ({
      outputs: [x ?? { shape: [], dtype: 'float32' as const }],
    });
    // The kernel declares three numbers, but negation returns two: the compiler refuses it.
    const wrong = {
      name: 'Wrong',
      inputs: ['x'],
      rule: () => ({ outputs: [{ shape: [3], dtype: 'float32' as const }] }),
      stablehlo: (
        b: { call(name: string, inputs: readonly unknown[], type: 'float32', shape: readonly number[]): never },
        [x]: readonly unknown[],
      ) => b.call('stablehlo.negate', [x], 'float32', [3]),
      tensorflow: <T>(_: unknown, [x]: readonly T[]): T => x as T,
    };
    const negate = {
      name: 'Negate',
      inputs: ['x'],
      rule: copy,
      tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T =>
        emit.op('Neg', [x as T]),
    };
    const x = backend.makeTensorInfo([2], 'float32', Float32Array.of(1, 2));
    const failed = backend.recordKernel(wrong as never, { x }, {}) as tf.TensorInfo;
    backend.barrier();
    const dependent = backend.recordKernel(negate, { x: failed }, {}) as tf.TensorInfo;
    backend.barrier();
    const fine = backend.recordKernel(negate, { x }, {}) as tf.TensorInfo;
    await expect(backend.read(dependent.dataId)).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringContaining('Wrong(float32 [2])') as string,
    });
    expect(() => backend.readSync(failed.dataId)).toThrow(/Wrong\(float32 \[2\]\)/);
    expect([...((await backend.read(fine.dataId)) as Float32Array)]).toEqual([-1, -2]);
  });
});
