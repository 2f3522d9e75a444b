import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { isWhetstoneError } from '@whetstone/core/contract';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import type { Gpu } from './gpus.js';
import { backendNames, createBackendResolver, resolveBackend, type Machine } from './resolve.js';
import { libraryFolder, xlaPlugin as installedPlugin } from './test-support.js';

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

test.each([
  ['cpu', 'xla'],
  ['wasm', 'tensorflow'],
  ['xla', 'tensorflow'],
])('the backend %s is refused with the engine %s, which is not its own', async (name, engine) => {
  await expect(resolveBackend({ name, engine, threads: null })).rejects.toMatchObject({
    code: 'CONFIG_CONFLICT',
    place: { path: 'backend.engine' },
  });
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

describe('GPUs', () => {
  const folders: string[] = [];
  afterEach(() => {
    if (tf.engine().registryFactory['tensorflow'] !== undefined) tf.removeBackend('tensorflow');
  });
  afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

  const H200: Gpu = { name: 'NVIDIA H200', memoryBytes: 143_771 * 2 ** 20 };
  const noLibrary = { tensorflowLibrary: '/no/such/folder', xlaPlugin: '/no/such/plugin.so' };
  const auto = { name: 'auto', threads: null };

  /**
   * Returns a machine with these GPUs, and with packages that stand in for those of tfjs-node: they register the
   * backend tensorflow, which computes as the backend cpu does and claims to use a GPU or not.
   */
  async function machineWith(
    gpus: readonly Gpu[] | null,
    packages: Readonly<Record<string, { readonly usesGpu: boolean; readonly fails?: string }>> = {},
  ): Promise<Machine> {
    const folder = await mkdtemp(join(tmpdir(), 'whetstone-tfjs-node-'));
    folders.push(folder);
    const modules = join(folder, 'node_modules/@tensorflow');
    await mkdir(modules, { recursive: true });
    const resolve = createRequire(import.meta.url).resolve;
    for (const name of ['tfjs-core', 'tfjs-backend-cpu'])
      await symlink(dirname(resolve(`@tensorflow/${name}/package.json`)), join(modules, name), 'junction');
    for (const [name, { usesGpu, fails }] of Object.entries(packages)) {
      await mkdir(join(modules, name));
      const program = `
        ${fails === undefined ? '' : `throw new Error(${JSON.stringify(fails)});`}
        const tf = require('@tensorflow/tfjs-core');
        const { MathBackendCPU } = require('@tensorflow/tfjs-backend-cpu');
        class TensorFlow extends MathBackendCPU { isUsingGpuDevice = ${usesGpu}; }
        tf.registerBackend('tensorflow', () => new TensorFlow(), 3);
        for (const kernel of tf.getKernelsForBackend('cpu'))
          if (tf.getKernel(kernel.kernelName, 'tensorflow') === undefined)
            tf.registerKernel({ ...kernel, backendName: 'tensorflow' });
        exports.version = { 'tfjs-node': '4.22.0' };`;
      await writeFile(join(modules, name, 'index.js'), program);
    }
    const find = createRequire(join(folder, 'index.js'));
    return { findPackage: (name) => find.resolve(name), presentGpus: async () => gpus };
  }

  test('auto prefers tfjs-node-gpu on a GPU to every processor, and names the GPU and its memory', async () => {
    const info = await resolveBackend(auto, {}, await machineWith([H200], { 'tfjs-node-gpu': { usesGpu: true } }));
    expect(info).toMatchObject({ backend: 'tensorflow', engine: 'tensorflow' });
    expect(info.reason).toMatch(
      'Computing on @tensorflow/tfjs-node-gpu 4.22.0, on the GPU NVIDIA H200 with 150.8 GB of memory, the best ' +
        'available backend',
    );
  });

  test('auto does not choose tfjs-node-gpu as a GPU if it computes on the processor or fails', async () => {
    const onCpu = await machineWith([H200], { 'tfjs-node-gpu': { usesGpu: false } });
    const last = await resolveBackend(auto, noLibrary, onCpu);
    expect(last).toMatchObject({ backend: 'tensorflow', gpu: null });
    expect(last.reason).toMatch(
      /tfjs-node-gpu on a GPU: it finds no GPU that it can use; whetstone: .*Not used: the GPU NVIDIA H200 with 150/,
    );
    tf.removeBackend('tensorflow');
    const broken = await machineWith([], { 'tfjs-node-gpu': { usesGpu: true, fails: 'libcudart.so is missing' } });
    const other = await resolveBackend(auto, noLibrary, broken);
    expect(other.backend).toBe('wasm');
    expect(other.reason).toMatch(/tfjs-node-gpu on a GPU: libcudart.so is missing; .*No NVIDIA or AMD GPU was found\./);
  });

  test.skipIf(libraryFolder === null)('on the processor, whetstone is preferred to tfjs-node-gpu', async () => {
    const machine = await machineWith([], { 'tfjs-node-gpu': { usesGpu: false }, 'tfjs-node': { usesGpu: false } });
    const info = await resolveBackend(auto, { xlaPlugin: '/no/such/plugin.so' }, machine);
    expect(info).toMatchObject({ backend: 'whetstone', engine: 'tensorflow' });
    expect(info.reason).toContain('No NVIDIA or AMD GPU was found.');
  });

  test.each([
    ['tensorflow', '@tensorflow/tfjs-node-gpu'],
    ['tfjs-node-gpu', '@tensorflow/tfjs-node-gpu'],
    ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node-gpu'],
    ['tfjs-node', '@tensorflow/tfjs-node'],
    ['@tensorflow/tfjs-node', '@tensorflow/tfjs-node'],
  ])('the name %s selects %s', async (name, selected) => {
    const packages = { 'tfjs-node-gpu': { usesGpu: false }, 'tfjs-node': { usesGpu: false } };
    const info = await resolveBackend({ name, threads: null }, {}, await machineWith(null, packages));
    expect(info.backend).toBe('tensorflow');
    expect(info.reason).toMatch(`Computing on ${selected} 4.22.0, as configured.`);
    expect(info.reason).toMatch(/Whether the machine has a GPU is unknown/);
  });

  test('a package that is not installed is not replaced by the other', async () => {
    const machine = await machineWith([], { 'tfjs-node': { usesGpu: false } });
    const choice = resolveBackend({ name: 'tfjs-node-gpu', threads: null }, {}, machine);
    await expect(choice).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });

  test.skipIf(installedPlugin === null)('an xla plugin for processors is not a GPU, whatever its name', async () => {
    const machine = await machineWith([]);
    const folder = await mkdtemp(join(tmpdir(), 'whetstone-plugin-'));
    folders.push(folder);
    const plugin = join(folder, 'cuda_plugin.so');
    await symlink(installedPlugin ?? '', plugin);
    const info = await resolveBackend(auto, { tensorflowLibrary: '/no/such/folder', xlaPlugin: plugin }, machine);
    expect(info).toMatchObject({ backend: 'whetstone', engine: 'xla', gpu: null });
    expect(info.reason).toMatch(/on an accelerator: the device .* computes on the processor; whetstone: /);
    const configured = await resolveBackend({ name: 'xla', threads: null }, { xlaPlugin: plugin }, machine);
    expect(configured.gpu).toBeNull();
  });

  test.skipIf(installedPlugin === null || libraryFolder === null)(
    'whetstone without an engine tries an accelerator before the processor, as auto does',
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'whetstone-plugin-'));
      folders.push(folder);
      const plugin = join(folder, 'cuda_plugin.so');
      await symlink(installedPlugin ?? '', plugin);
      const choose = async (engine: string | null): Promise<string> => {
        const request = { name: 'whetstone', engine, threads: null };
        return (await resolveBackend(request, { xlaPlugin: plugin }, await machineWith([]))).reason;
      };
      const tried = /whetstone on an accelerator: the device .* computes on the processor/;
      const chosen = /Computing on whetstone with TensorFlow/;
      const reason = await choose(null);
      expect(reason).toMatch(tried);
      expect(reason).toMatch(chosen);
      expect(await choose('tensorflow')).not.toMatch(tried);
    },
  );
});
