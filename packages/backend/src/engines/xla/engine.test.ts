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
  test('compiles and runs a StableHLO module, and runs it again from its serialized bytes', async () => {
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

  test('returns uploaded values of every dtype unchanged, and empty tensors', () => {
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

  test('refuses an invalid module with the reason', () => {
    const client = new XlaClient(loadPjrt(plugin), { cpu_device_count: 1 });
    expect(() => client.compile('func.func @main() { nonsense }', 'Nonsense')).toThrow(
      /Nonsense failed in XLA: .*error/,
    );
  });

  test('names a plugin that does not exist or is not a plugin', () => {
    const folder = mkdtempSync(join(tmpdir(), 'whetstone-plugin-'));
    try {
      const file = join(folder, 'not-a-plugin.so');
      expect(() => loadPjrt(file)).toThrow(/XLA plugin not found/);
      writeFileSync(file, 'text');
      expect(() => loadPjrt(file)).toThrow(/cannot be loaded: .*not a shared library/);
      writeFileSync(file, beginningOf(plugin));
      expect(() => loadPjrt(file)).toThrow(/cannot be loaded: .*truncated/);
      // An executable file, but not a plugin.
      expect(() => loadPjrt(process.execPath)).toThrow(/cannot be loaded/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe.skipIf(xlaPlugin === null)('the xla engine', () => {
  test('compiles once for a set of shapes, independent of the values', async () => {
    const backend = await startXlaBackend();
    const compute = (rows: number, rate: number): number[] =>
      tf.tidy(() => [
        ...tf
          .sum(tf.mul(tf.matMul(random<tf.Rank.R2>([rows, 3], 1), random<tf.Rank.R2>([3, 2], 2)), tf.scalar(rate)), 1)
          .dataSync(),
      ]);
    const first = compute(4, 0.5);
    const engine = backend.engine;
    const before = variantsOf(engine);
    const second = compute(4, 0.25);
    expect(variantsOf(engine)).toBe(before);
    second.forEach((value, index) => expect(value).toBeCloseTo((first[index] ?? 0) / 2, 6));
    compute(5, 0.25);
    expect(variantsOf(engine)).toBe(before + 1);
    compute(4, 0.125);
    expect(variantsOf(engine)).toBe(before + 1);
  });

  test('names an operation that cannot be compiled, and remains usable', async () => {
    const backend = new WhetstoneBackend(createXlaEngine({ plugin, moduleFolder: null }));
    const wrong = {
      name: 'Wrong',
      inputs: ['x'],
      rule: () => ({ outputs: [{ shape: [3], dtype: 'float32' as const }] }),
      tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T =>
        emit.op('NoSuchOp', [x as T]),
    };
    const x = backend.makeTensorInfo([2], 'float32', Float32Array.of(1, 2));
    const result = backend.recordKernel(wrong, { x }, {}) as tf.TensorInfo;
    expect(() => backend.readSync(result.dataId)).toThrow(/Wrong\(float32 \[2\]\).*NoSuchOp/);
    expect([...(backend.readSync(x.dataId) as Float32Array)]).toEqual([1, 2]);
  });

  test('evicts variants beyond the configured number', () => {
    const engine = createXlaEngine({ plugin, moduleFolder: null, maxVariants: 2 });
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
    expect(engine.variants()).toBe(2);
  });

  test('lets the process exit normally after a computation', async () => {
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

describe.skipIf(xlaPlugin === null)("a run's resources", () => {
  test('a run that needs more memory than the machine has is refused, with its size and what to lower', () => {
    const backend = new WhetstoneBackend(createXlaEngine({ plugin, moduleFolder: null }));
    // Each of the two results takes two thirds of the memory, so one alone would fit.
    const length = Math.ceil(Math.sqrt(((2 / 3) * totalmem()) / 4));
    const square: Kernel = {
      name: 'Square',
      inputs: ['x'],
      returnsList: true,
      rule: () => ({ outputs: [0, 1].map(() => ({ shape: [length, length], dtype: 'float32' })) }),
      tensorflow: (emit, [x]) => {
        const matrix = emit.op('BroadcastTo', [x!, emit.constant('int32', [2], [length, length])]);
        return [emit.op('Exp', [matrix]), emit.op('Neg', [matrix])];
      },
    };
    const x = backend.makeTensorInfo([length], 'float32', new Float32Array(length));
    const [result] = backend.recordKernel(square, { x }, {}) as tf.TensorInfo[];
    expect(() => backend.readSync(result?.dataId ?? {})).toThrow(
      expect.objectContaining({
        code: 'OUT_OF_MEMORY',
        message: expect.stringMatching(/Square\(float32 \[\d+\]\) needs [\d.]+ GB/) as string,
        hint: expect.stringContaining('perDeviceTrainBatchSize') as string,
      }) as Error,
    );
    expect([...(backend.readSync(x.dataId) as Float32Array).subarray(0, 2)]).toEqual([0, 0]);
  });

  test.skipIf(process.platform !== 'linux')(
    'a CPU plugin uses the configured number of threads',
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
  test('are loaded by a second engine, and compiled again if they are corrupt', () => {
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
      const complete = readFileSync(join(folder, file));
      writeFileSync(join(folder, file), complete.subarray(0, 100));
      expect(compute()).toBe(10);
      expect(readFileSync(join(folder, file)).length).toBeGreaterThan(100);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** Returns the first 16 MiB of a file. */
function beginningOf(path: string): Uint8Array {
  const bytes = new Uint8Array(2 ** 24);
  const file = openSync(path, 'r');
  readSync(file, bytes);
  closeSync(file);
  return bytes;
}

const variantsOf = (engine: object): number =>
  'variants' in engine && typeof engine.variants === 'function' ? Number(engine.variants()) : NaN;
