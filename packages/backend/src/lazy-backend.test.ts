import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { libraryFolder, xlaPlugin } from './test-support.js';

// User programs, run in child processes with the built packages.

vi.setConfig({ testTimeout: 240_000 });

const root = fileURLToPath(new URL('../../..', import.meta.url));
let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-lazy-backend-'));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(
  name: string,
  program: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  await writeFile(join(folder, name), program);
  const child = spawn(process.execPath, [join(folder, name)], { cwd: folder, env: { ...process.env, ...environment } });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stdout, stderr };
}

test.skipIf(libraryFolder === null)('the program of the README trains after importing the package', async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const program = /^```js\n([\s\S]*?)^```/m.exec(readme)?.[1] ?? '';
  expect(program.trim().split('\n').length).toBeLessThanOrEqual(12);
  // y = 2x + 1.
  expect(await run('readme.mjs', program)).toEqual({ code: 0, stdout: '2.0 1.0\n', stderr: '' });
});

test.skipIf(libraryFolder === null)(
  "a loop with tfjs-core's optimizer that reads nothing is submitted at each step and compiled once",
  async () => {
    const { code, stdout, stderr } = await run(
      'loop.mjs',
      `import * as tf from '@tensorflow/tfjs-core';
    import '@whetstone/backend';
    await tf.setBackend('whetstone');
    const weight = tf.variable(tf.ones([4, 4]));
    const optimizer = tf.train.adam(0.01);
    for (let step = 0; step < 60; step++) optimizer.minimize(() => tf.mean(tf.square(tf.matMul(weight, weight))));
    const { graphs, compiles } = tf.backend().counters();
    console.log(graphs, compiles);`,
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [graphs = 0, compiles = 0] = stdout.split(' ').map(Number);
    expect(graphs).toBeGreaterThanOrEqual(60);
    expect(compiles).toBeLessThanOrEqual(2);
  },
);

test.skipIf(libraryFolder === null)(
  'a process that ends while the device works exits with its own code, interrupted or not',
  async () => {
    const program = `import * as tf from '@tensorflow/tfjs-core';
    import '@whetstone/backend';
    await tf.setBackend('whetstone');
    const a = tf.ones([1000, 1000]);
    let value = a;
    for (let index = 0; index < 30; index++) value = tf.mul(tf.matMul(value, a), 0.001);
    tf.backend().barrier();
    process.exit(Number(process.env.CODE));`;
    for (const code of [0, 3, 130])
      expect(await run('ends.mjs', program, { CODE: String(code) })).toEqual({ code, stdout: '', stderr: '' });
  },
);

test.skipIf(libraryFolder === null)('worker threads compute concurrently, and standard error still works', async () => {
  const { code, stdout, stderr } = await run(
    'workers.mjs',
    `
      import { Worker, isMainThread, parentPort } from 'node:worker_threads';
      import { fileURLToPath } from 'node:url';
      const sumOfWorker = () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(fileURLToPath(import.meta.url));
          worker.on('message', resolve).on('error', reject);
        });
      if (isMainThread) {
        const sums = await Promise.all([sumOfWorker(), sumOfWorker(), sumOfWorker()]);
        console.log(sums.join(' '));
        console.error('still works');
      } else {
        const tf = await import('@tensorflow/tfjs-core');
        await import('@whetstone/backend');
        await tf.setBackend('whetstone');
        parentPort.postMessage(tf.sum(tf.matMul(tf.ones([8, 8]), tf.ones([8, 8]))).dataSync()[0]);
      }`,
  );
  expect({ code, stdout }).toEqual({ code: 0, stdout: '512 512 512\n' });
  expect(stderr).toContain('still works');
  expect(stderr).not.toContain('Warning');
});

test.skipIf(libraryFolder === null || process.platform === 'win32')(
  'a program that computes without a pause ends on a signal',
  async () => {
    await writeFile(
      join(folder, 'busy.mjs'),
      `import * as tf from '@tensorflow/tfjs-core';
    import '@whetstone/backend';
    await tf.setBackend('whetstone');
    console.log('started');
    for (const end = Date.now() + 20_000; Date.now() < end; ) tf.add(1, 2).dataSync();`,
    );
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const child = spawn(process.execPath, [join(folder, 'busy.mjs')], { cwd: folder });
      const ended = new Promise((resolve) => child.on('close', (_, endSignal) => resolve(endSignal)));
      child.stdout.once('data', () => child.kill(signal));
      expect(await ended).toBe(signal);
    }
  },
);

const missingLibraries = {
  WHETSTONE_TENSORFLOW_LIBRARY: '/no/such/folder',
  WHETSTONE_XLA_PLUGIN: '/no/such/plugin.so',
};

test('without a library, the reason and the command are printed, and other backends work', async () => {
  const { code, stdout, stderr } = await run(
    'missing.mjs',
    `import * as tf from '@tensorflow/tfjs-core';
    import '@tensorflow/tfjs-backend-cpu';
    import '@whetstone/backend';
    tf.env().set('PROD', false);
    console.log(await tf.setBackend('whetstone'));
    await tf.setBackend('cpu');
    console.log((await tf.add(1, 2).data())[0]);`,
    missingLibraries,
  );
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'false\n3\n' });
  expect(stderr).toMatch(/tensorflow: WHETSTONE_TENSORFLOW_LIBRARY is \/no\/such\/folder/);
  expect(stderr).toMatch(/npx @whetstone\/backend install cpu/);
});

test.skipIf(xlaPlugin === null)(
  'a missing named library causes a warning that names the engine used instead',
  async () => {
    const { code, stdout, stderr } = await run(
      'instead.mjs',
      `import * as tf from '@tensorflow/tfjs-core';
    import '@whetstone/backend';
    await tf.setBackend('whetstone');
    console.log(tf.backend().engine.name);`,
      { WHETSTONE_TENSORFLOW_LIBRARY: '/no/such/folder' },
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'xla\n' });
    expect(stderr).toMatch(/using the engine xla.*WHETSTONE_TENSORFLOW_LIBRARY is \/no\/such\/folder/s);
  },
);

test('importing the package does not change the backend that tfjs-core selects', async () => {
  const result = await run(
    'silent.mjs',
    `import * as tf from '@tensorflow/tfjs-core';
    import '@whetstone/backend';
    import '@tensorflow/tfjs-backend-cpu';
    tf.enableProdMode();
    console.log(tf.add(1, 2).dataSync()[0], tf.getBackend());`,
    missingLibraries,
  );
  expect(result).toEqual({ code: 0, stdout: '3 cpu\n', stderr: '' });
});
