import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { Kernel } from '../../kernels/kernel.js';
import { WhetstoneBackend } from '../../recorder/backend.js';
import { random, startXlaBackend, xlaPlugin } from '../../test-support.js';
import { XlaClient } from './client.js';
import { createXlaEngine } from './engine.js';
import { loadPjrt } from './pjrt.js';

const plugin = xlaPlugin ?? '';

describe.skipIf(xlaPlugin === null)('the client of a PJRT plugin', () => {
  test('compiles a matrix product given as StableHLO, runs it, keeps it as bytes and runs these', async () => {
    const client = new XlaClient(loadPjrt(plugin), { cpu_device_count: 1 });
    expect(client.deviceCount).toBe(1);
    const dot =
      '"stablehlo.dot_general"(%a, %a) <{dot_dimension_numbers = #stablehlo.dot<lhs_contracting_dimensions = ' +
      '[1], rhs_contracting_dimensions = [0]>}> : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>';
    const compiled = client.compile(
      `func.func @main(%a: tensor<2x2xf32>) -> tensor<2x2xf32> {\n%0 = ${dot}\n"func.return"(%0) : ` +
        '(tensor<2x2xf32>) -> ()\n}',
      'A product',
    );
    const input = client.upload('float32', [2, 2], Float32Array.of(1, 2, 3, 4));
    for (const executable of [compiled, client.deserialize(client.serialize(compiled))]) {
      const [[result = 0n] = []] = client.execute(executable, [[input]], {}, 'A product');
      expect([...client.download(result, 'float32', [2, 2])]).toEqual([7, 10, 15, 22]);
      expect([...(await client.downloadLater(result, 'float32', [2, 2]))]).toEqual([7, 10, 15, 22]);
      client.release(result);
      client.dispose(executable);
    }
    client.release(input);
    client.wait();
  });

  test('every dtype comes back as it went, and nothing at all too', () => {
    const client = new XlaClient(loadPjrt(plugin), { cpu_device_count: 1 });
    const cases = [
      ['float32', Float32Array.of(1.5, -0, Infinity)],
      ['int32', Int32Array.of(-1, 0, 2 ** 31 - 1)],
      ['bool', Uint8Array.of(1, 0, 1)],
      ['uint8', Uint8Array.of(0, 200, 255)],
      ['bfloat16', Float32Array.of(1.5, -2, 0)],
      ['float32', new Float32Array(0)],
    ] as const;
    for (const [type, values] of cases) {
      const buffer = client.upload(type, [values.length], values);
      expect([...client.download(buffer, type, [values.length])]).toEqual([...values]);
      client.release(buffer);
    }
  });

  test('a module that is not one is refused with the reason', () => {
    const client = new XlaClient(loadPjrt(plugin), { cpu_device_count: 1 });
    expect(() => client.compile('func.func @main() { nonsense }', 'Nonsense')).toThrow(
      /Nonsense failed in XLA: .*error/,
    );
  });

  test('a plugin that is not there, or is none, is named', () => {
    const folder = mkdtempSync(join(tmpdir(), 'whetstone-plugin-'));
    try {
      const file = join(folder, 'not-a-plugin.so');
      expect(() => loadPjrt(file)).toThrow(/no XLA plugin at/);
      writeFileSync(file, 'text');
      expect(() => loadPjrt(file)).toThrow(/cannot be loaded: .*no shared library/);
      writeFileSync(file, beginningOf(plugin));
      expect(() => loadPjrt(file)).toThrow(/cannot be loaded: .*cut short/);
      // A library, but no plugin.
      expect(() => loadPjrt(process.execPath)).toThrow(/cannot be loaded/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe.skipIf(xlaPlugin === null)('the xla engine', () => {
  test('compiles once for a set of shapes, whatever the numbers are', async () => {
    const backend = await startXlaBackend();
    const compute = (rows: number, rate: number): number[] =>
      tf.tidy(() => [
        ...tf
          .sum(tf.mul(tf.matMul(random<tf.Rank.R2>([rows, 3], 1), random<tf.Rank.R2>([3, 2], 2)), tf.scalar(rate)), 1)
          .dataSync(),
      ]);
    const first = compute(4, 0.5);
    const engine = backend.engine;
    const before = modulesOf(engine);
    const second = compute(4, 0.25);
    expect(modulesOf(engine)).toBe(before);
    second.forEach((value, index) => expect(value).toBeCloseTo((first[index] ?? 0) / 2, 6));
    compute(5, 0.25);
    expect(modulesOf(engine)).toBe(before + 1);
    compute(4, 0.125);
    expect(modulesOf(engine)).toBe(before + 1);
  });

  test('says which operation cannot be compiled, and goes on', async () => {
    const backend = new WhetstoneBackend(createXlaEngine({ plugin, moduleFolder: null }));
    const wrong = {
      name: 'Wrong',
      inputs: ['x'],
      rule: () => ({ outputs: [{ shape: [3], dtype: 'float32' as const }] }),
      tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T =>
        emit.op('NoSuchOp', [x as T]),
    };
    const x = backend.makeTensorInfo([2], 'float32', Float32Array.of(1, 2));
    const made = backend.recordKernel(wrong, { x }, {}) as tf.TensorInfo;
    expect(() => backend.readSync(made.dataId)).toThrow(/Wrong\(float32 \[2\]\).*NoSuchOp/);
    expect([...(backend.readSync(x.dataId) as Float32Array)]).toEqual([1, 2]);
  });

  test('leaves no module behind but the most that were asked for', () => {
    const engine = createXlaEngine({ plugin, moduleFolder: null, mostModules: 2 });
    const backend = new WhetstoneBackend(engine);
    const identity = {
      name: 'Copy',
      inputs: ['x'],
      rule: ([x]: readonly { shape: readonly number[]; dtype: tf.DataType }[]) => ({
        outputs: [x ?? { shape: [], dtype: 'float32' as const }],
      }),
      tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T =>
        emit.op('Neg', [x as T]),
    };
    for (const size of [2, 3, 4, 5, 2]) {
      const x = backend.makeTensorInfo([size], 'float32', new Float32Array(size).fill(3));
      expect(backend.readSync((backend.recordKernel(identity, { x }, {}) as tf.TensorInfo).dataId)).toEqual(
        new Float32Array(size).fill(-3),
      );
    }
    expect(engine.modules()).toBe(2);
  });

  test('a process that computed with it ends by itself and well', async () => {
    const built = join(dirname(new URL(import.meta.url).pathname), '../../../dist/index.js');
    if (!existsSync(built)) {
      console.warn('SKIPPED: the package is not built. Build it with: npm run build');
      return;
    }
    const script =
      `import * as tf from '@tensorflow/tfjs-core'; import { registerWhetstoneBackend } from ` +
      `${JSON.stringify(built)}; await registerWhetstoneBackend({ engine: 'xla', plugin: ` +
      `${JSON.stringify(plugin)} }); console.log(tf.add(1, 2).dataSync()[0]);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      cwd: dirname(built),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const ended = await new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
    expect({ ended, output }).toEqual({ ended: { code: 0, signal: null }, output: '3\n' });
  }, 60_000);
});

describe.skipIf(xlaPlugin === null)('what a run may take', () => {
  test('more memory than the machine has is refused before it is taken, with how much it is and what to lower', () => {
    const backend = new WhetstoneBackend(createXlaEngine({ plugin, moduleFolder: null }));
    // Two results, each of two thirds of the memory: either alone would do.
    const length = Math.ceil(Math.sqrt(((2 / 3) * totalmem()) / 4));
    const square: Kernel = {
      name: 'Square',
      inputs: ['x'],
      returnsList: true,
      rule: () => ({ outputs: [0, 1].map(() => ({ shape: [length, length], dtype: 'float32' })) }),
      tensorflow: (emit, [x]) => {
        const whole = emit.op('BroadcastTo', [x!, emit.constant('int32', [2], [length, length])]);
        return [emit.op('Exp', [whole]), emit.op('Neg', [whole])];
      },
    };
    const x = backend.makeTensorInfo([length], 'float32', new Float32Array(length));
    const [made] = backend.recordKernel(square, { x }, {}) as tf.TensorInfo[];
    expect(() => backend.readSync(made?.dataId ?? {})).toThrow(
      expect.objectContaining({
        code: 'OUT_OF_MEMORY',
        message: expect.stringMatching(/Square\(float32 \[\d+\]\) needs [\d.]+ GB/) as string,
        hint: expect.stringContaining('perDeviceTrainBatchSize') as string,
      }) as Error,
    );
    expect([...(backend.readSync(x.dataId) as Float32Array).subarray(0, 2)]).toEqual([0, 0]);
  });

  test.skipIf(process.platform !== 'linux')(
    'a CPU plugin has the threads that it is given',
    async () => {
      const built = join(dirname(new URL(import.meta.url).pathname), '../../../dist/index.js');
      if (!existsSync(built))
        return void console.warn('SKIPPED: the package is not built. Build it with: npm run build');
      const script = `
        import { readdirSync, readFileSync } from 'node:fs';
        import * as tf from '@tensorflow/tfjs-core';
        import { registerWhetstoneBackend } from ${JSON.stringify(built)};
        await registerWhetstoneBackend({ engine: 'xla', plugin: ${JSON.stringify(plugin)}, threads: 3 });
        tf.add(1, 2).dataSync();
        const threadName = (task) => readFileSync('/proc/self/task/' + task + '/comm', 'utf8');
        const tasks = readdirSync('/proc/self/task');
        console.log(tasks.filter((task) => threadName(task).includes('XLAEigen')).length);`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        cwd: dirname(built),
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      await new Promise((resolve) => child.on('close', resolve));
      expect(output).toBe('3\n');
    },
    60_000,
  );
});

describe.skipIf(xlaPlugin === null)('modules on disk', () => {
  test('a second engine takes them, and one that is damaged is compiled again', () => {
    const folder = mkdtempSync(join(tmpdir(), 'whetstone-modules-'));
    try {
      const compute = (): number => {
        const backend = new WhetstoneBackend(createXlaEngine({ plugin, moduleFolder: folder }));
        const twice = {
          name: 'Twice',
          inputs: ['x'],
          rule: ([x]: readonly { shape: readonly number[]; dtype: tf.DataType }[]) => ({
            outputs: [x ?? { shape: [], dtype: 'float32' as const }],
          }),
          tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T =>
            emit.op('AddV2', [x as T, x as T]),
        };
        const x = backend.makeTensorInfo([2], 'float32', Float32Array.of(4, 5));
        return (
          (backend.readSync((backend.recordKernel(twice, { x }, {}) as tf.TensorInfo).dataId) as Float32Array)[1] ?? NaN
        );
      };
      expect(compute()).toBe(10);
      const [file = ''] = readdirSync(folder);
      expect(compute()).toBe(10);
      expect(readdirSync(folder)).toEqual([file]);
      const whole = readFileSync(join(folder, file));
      writeFileSync(join(folder, file), whole.subarray(0, 100));
      expect(compute()).toBe(10);
      expect(readFileSync(join(folder, file)).length).toBeGreaterThan(100);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** The first 16 MiB of a file. */
function beginningOf(path: string): Uint8Array {
  const bytes = new Uint8Array(2 ** 24);
  const file = openSync(path, 'r');
  readSync(file, bytes);
  closeSync(file);
  return bytes;
}

const modulesOf = (engine: object): number =>
  'modules' in engine && typeof engine.modules === 'function' ? Number(engine.modules()) : NaN;
