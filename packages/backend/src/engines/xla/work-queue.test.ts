import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { WhetstoneBackend } from '../../recorder/backend.js';
import { random, startXlaBackend, xlaPlugin } from '../../test-support.js';
import { createXlaEngine } from './engine.js';

/** A chain of products that is new each time, so that it has to be compiled, and that takes a while to compute. */
function work(length: number): tf.Tensor {
  return tf.tidy(() => {
    let x = random<tf.Rank.R2>([600, 600], length);
    const y = random<tf.Rank.R2>([600, 600], 2);
    for (let step = 0; step < length; step++) x = tf.mul(tf.tanh(tf.matMul(x, y)), step + 1);
    return tf.sum(x);
  });
}

/** The longest time that the event loop did not come round while something is begun and awaited. */
async function longestPause(
  begin: () => Promise<unknown>,
): Promise<{ readonly turns: number; readonly longest: number }> {
  let [turns, longest, last] = [0, 0, performance.now()];
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    turns++;
  }, 1);
  await begin();
  clearInterval(timer);
  return { turns, longest };
}

describe.skipIf(xlaPlugin === null)('the queue of the xla engine', () => {
  test('compiles and computes while timers are served', { timeout: 120_000 }, async () => {
    // Without modules on disk: it has to compile.
    const backend = await startXlaBackend({ moduleFolder: null });
    const compiled = backend.counters().compiles;
    const result = work(90);
    const started = performance.now();
    const { turns, longest } = await longestPause(() => result.data());
    const whole = performance.now() - started;
    // What is done on this thread (lowering, looking for the module on disk) is a small part.
    expect(turns).toBeGreaterThan(5);
    expect(longest).toBeLessThan(whole / 2);
    expect(backend.counters().compiles).toBe(compiled + 1);
    result.dispose();
  });

  test('gives the same in whatever order results are asked for, at once or later', async () => {
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
    // Half of the queue is still to be compiled: a synchronous read does not wait for the event loop.
    expect([...(backend.readSync(third.dataId) as Float32Array)]).toEqual([4, 8, 12]);
    expect([...((await later) as Float32Array)]).toEqual([16, 32, 48]);
    expect([...((await backend.read(second.dataId)) as Float32Array)]).toEqual([2, 4, 6]);
    for (const { dataId } of chain) backend.disposeData(dataId);
    await backend.settle();
    expect(backend.counters().deviceBytes).toBe(0);
  });

  test('what a failed computation gives is its error, for all that depends on it, and nothing else', async () => {
    const backend = new WhetstoneBackend(createXlaEngine({ plugin: xlaPlugin ?? '', moduleFolder: null }));
    const copy = ([x]: readonly { shape: readonly number[]; dtype: tf.DataType }[]) => ({
      outputs: [x ?? { shape: [], dtype: 'float32' as const }],
    });
    // Three numbers are promised where the module would make two: the compiler refuses it.
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
    const behind = backend.recordKernel(negate, { x: failed }, {}) as tf.TensorInfo;
    backend.barrier();
    const fine = backend.recordKernel(negate, { x }, {}) as tf.TensorInfo;
    await expect(backend.read(behind.dataId)).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringContaining('Wrong(float32 [2])') as string,
    });
    expect(() => backend.readSync(failed.dataId)).toThrow(/Wrong\(float32 \[2\]\)/);
    expect([...((await backend.read(fine.dataId)) as Float32Array)]).toEqual([-1, -2]);
  });
});
