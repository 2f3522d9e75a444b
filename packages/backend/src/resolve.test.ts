import * as tf from '@tensorflow/tfjs-core';
import { isWhetstoneError } from '@whetstone/core/contract';
import { afterEach, expect, test, vi } from 'vitest';
import { backendNames, createBackendResolver, resolveBackend } from './resolve.js';
import { libraryFolder } from './test-support.js';

afterEach(() => vi.restoreAllMocks());

test('cpu is used if configured, with a reason and without a notice about tfjs-node', async () => {
  const warn = vi.spyOn(console, 'warn');
  const info = await resolveBackend({ name: 'cpu', threads: null });
  expect(info).toMatchObject({ backend: 'cpu', engine: 'cpu' });
  expect(info.reason).toContain('as configured');
  info.barrier();
  expect(tf.getBackend()).toBe('cpu');
  expect(warn).not.toHaveBeenCalled();
});

test('a backend without bfloat16 products reports that', async () => {
  const info = await resolveBackend({ name: 'cpu', threads: null, matmul: 'bfloat16' });
  expect(info.reason).toContain('Matrices are multiplied in float32: cpu supports only that.');
});

test.skipIf(libraryFolder === null)(
  'whetstone multiplies in bfloat16 if configured, and in float32 by default',
  async () => {
    const { reason } = await resolveBackend({ name: 'whetstone', threads: null, matmul: 'bfloat16' });
    expect(reason).toContain('multiplied in bfloat16');
    // 1 + 2⁻⁹ is 1 in bfloat16.
    const product = (): number =>
      tf.tidy(() => tf.matMul(tf.tensor2d([[1 + 2 ** -9, 0]]), tf.tensor2d([[1], [0]])).dataSync()[0] ?? NaN);
    expect(product()).toBe(1);
    await resolveBackend({ name: 'whetstone', threads: null });
    expect(product()).toBe(1 + 2 ** -9);
  },
);

test('wasm is used if configured, with kernels of cpu that it lacks', async () => {
  expect(await resolveBackend({ name: 'wasm', threads: 2 })).toMatchObject({ backend: 'wasm' });
  const before = tf.memory().numTensors;
  const sum = tf.tidy(() =>
    tf.unsortedSegmentSum(
      tf.tensor2d([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
      tf.tensor1d([1, 0, 1], 'int32'),
      2,
    ),
  );
  expect([...sum.dataSync()]).toEqual([3, 4, 6, 8]);
  sum.dispose();
  expect(tf.memory().numTensors).toBe(before);
  expect(tf.findBackend('cpu').numDataIds()).toBe(0);
});

test("a clone on wasm shares its tensor's data and outlives the tensor", async () => {
  await resolveBackend({ name: 'wasm', threads: null });
  const data = tf.backend().numDataIds();
  const x = tf.tensor1d([1, 2, 3]);
  const clone = tf.clone(x);
  expect(tf.backend().numDataIds()).toBe(data + 1);
  x.dispose();
  expect([...tf.tidy(() => tf.square(clone)).dataSync()]).toEqual([1, 4, 9]);
  clone.dispose();
  const words = tf.tidy(() => tf.clone(tf.tensor1d(['a', 'b'], 'string')));
  expect(words.dataSync()).toEqual(['a', 'b']);
  words.dispose();
});

test('auto falls back to the next backend and reports why each better one failed', async () => {
  const messages: string[] = [];
  const logger = {
    debug: () => {},
    info: (message: string) => messages.push(message),
    warn: () => {},
    error: () => {},
  };
  const info = await createBackendResolver({
    tensorflowLibrary: '/no/such/folder',
    xlaPlugin: '/no/such/plugin.so',
  }).resolve({ name: 'auto', threads: null }, logger);
  expect(info.backend).toBe('wasm');
  const reasons = [
    'whetstone: .*/no/such/folder',
    'xla: .*/no/such/plugin\\.so',
    'tfjs-node-gpu: not installed; @tensorflow/tfjs-node: not installed',
  ];
  expect(info.reason).toMatch(new RegExp(reasons.join('.*')));
  expect(messages).toEqual([info.reason]);
});

test('a configured backend that fails is an error with the reason', async () => {
  for (const [name, pattern] of [
    ['tensorflow', /tfjs-node: not installed/],
    ['whetstone', /no\/such\/folder/],
  ] as const) {
    const error = await resolveBackend(
      { name, threads: null },
      { tensorflowLibrary: '/no/such/folder', xlaPlugin: '/no/such/plugin.so' },
    ).catch((caught: unknown) => caught);
    expect(isWhetstoneError(error) && error.code).toBe('BACKEND_UNAVAILABLE');
    expect(String(error)).toMatch(pattern);
  }
  await expect(resolveBackend({ name: 'cuda', threads: null })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    expected: backendNames.join(', '),
  });
});
