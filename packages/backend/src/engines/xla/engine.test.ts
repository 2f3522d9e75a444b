import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
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
    const dot = '"stablehlo.dot_general"(%a, %a) <{dot_dimension_numbers = #stablehlo.dot<lhs_contracting_dimensions = [1], rhs_contracting_dimensions = [0]>}> : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>';
    const compiled = client.compile(`func.func @main(%a: tensor<2x2xf32>) -> tensor<2x2xf32> {\n%0 = ${dot}\n"func.return"(%0) : (tensor<2x2xf32>) -> ()\n}`, 'A product');
    const input = client.upload('float32', [2, 2], Float32Array.of(1, 2, 3, 4));
    for (const executable of [compiled, client.deserialize(client.serialize(compiled))]) {
      const [[result = 0n] = []] = client.execute(executable, [[input]], [], 'A product');
      expect([...client.download(result, 'float32', 4)]).toEqual([7, 10, 15, 22]);
      expect([...(await client.downloadLater(result, 'float32', 4))]).toEqual([7, 10, 15, 22]);
      client.release(result);
      client.dispose(executable);
    }
    client.release(input);
    client.wait();
  });

  test('every dtype comes back as it went, and nothing at all too', () => {
    const client = new XlaClient(loadPjrt(plugin), { cpu_device_count: 1 });
    const cases = [['float32', Float32Array.of(1.5, -0, Infinity)], ['int32', Int32Array.of(-1, 0, 2 ** 31 - 1)], ['bool', Uint8Array.of(1, 0, 1)], ['uint8', Uint8Array.of(0, 200, 255)], ['bfloat16', Float32Array.of(1.5, -2, 0)], ['float32', new Float32Array(0)]] as const;
    for (const [type, values] of cases) {
      const buffer = client.upload(type, [values.length], values);
      expect([...client.download(buffer, type, values.length)]).toEqual([...values]);
      client.release(buffer);
    }
  });

  test('a module that is not one is refused with the reason', () => {
    const client = new XlaClient(loadPjrt(plugin), { cpu_device_count: 1 });
    expect(() => client.compile('func.func @main() { nonsense }', 'Nonsense')).toThrow(/Nonsense failed in XLA: .*error/);
  });

  test('a plugin that is not there, or is none, is named', () => {
    const folder = mkdtempSync(join(tmpdir(), 'whetstone-plugin-'));
    try {
      const file = join(folder, 'not-a-plugin.so');
      expect(() => loadPjrt(file)).toThrow(/no XLA plugin at/);
      writeFileSync(file, 'text');
      expect(() => loadPjrt(file)).toThrow(/cannot be loaded/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe.skipIf(xlaPlugin === null)('the xla engine', () => {
  test('compiles once for a set of shapes, whatever the numbers are', async () => {
    const backend = await startXlaBackend();
    const compute = (rows: number, rate: number): number[] =>
      tf.tidy(() => [...tf.sum(tf.mul(tf.matMul(random<tf.Rank.R2>([rows, 3], 1), random<tf.Rank.R2>([3, 2], 2)), tf.scalar(rate)), 1).dataSync()]);
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
    const wrong = { name: 'Wrong', inputs: ['x'], rule: () => ({ outputs: [{ shape: [3], dtype: 'float32' as const }] }), tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T => emit.op('NoSuchOp', [x as T]) };
    const x = backend.makeTensorInfo([2], 'float32', Float32Array.of(1, 2));
    const made = backend.run(wrong, { x }, {}) as tf.TensorInfo;
    expect(() => backend.readSync(made.dataId)).toThrow(/Wrong\(float32 \[2\]\).*NoSuchOp/);
    expect([...(backend.readSync(x.dataId) as Float32Array)]).toEqual([1, 2]);
  });

  test('leaves no module behind but the most that were asked for', () => {
    const engine = createXlaEngine({ plugin, moduleFolder: null, mostModules: 2 });
    const backend = new WhetstoneBackend(engine);
    const identity = { name: 'Copy', inputs: ['x'], rule: ([x]: readonly { shape: readonly number[]; dtype: tf.DataType }[]) => ({ outputs: [x ?? { shape: [], dtype: 'float32' as const }] }), tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T => emit.op('Neg', [x as T]) };
    for (const size of [2, 3, 4, 5, 2]) {
      const x = backend.makeTensorInfo([size], 'float32', new Float32Array(size).fill(3));
      expect(backend.readSync((backend.run(identity, { x }, {}) as tf.TensorInfo).dataId)).toEqual(new Float32Array(size).fill(-3));
    }
    expect(engine.modules()).toBe(2);
  });

  test('a process that computed with it ends by itself and well', async () => {
    const built = join(dirname(new URL(import.meta.url).pathname), '../../../dist/index.js');
    if (!existsSync(built)) {
      console.warn('SKIPPED: the package is not built. Build it with: npm run build');
      return;
    }
    const script = `import * as tf from '@tensorflow/tfjs-core'; import { registerWhetstoneBackend } from ${JSON.stringify(built)}; await registerWhetstoneBackend({ engine: 'xla', plugin: ${JSON.stringify(plugin)} }); console.log(tf.add(1, 2).dataSync()[0]);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: dirname(built), stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const ended = await new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
    expect({ ended, output }).toEqual({ ended: { code: 0, signal: null }, output: '3\n' });
  }, 60_000);
});

describe.skipIf(xlaPlugin === null)('modules on disk', () => {
  test('a second engine takes them, and one that is damaged is compiled again', () => {
    const folder = mkdtempSync(join(tmpdir(), 'whetstone-modules-'));
    try {
      const compute = (): number => {
        const backend = new WhetstoneBackend(createXlaEngine({ plugin, moduleFolder: folder }));
        const twice = { name: 'Twice', inputs: ['x'], rule: ([x]: readonly { shape: readonly number[]; dtype: tf.DataType }[]) => ({ outputs: [x ?? { shape: [], dtype: 'float32' as const }] }), tensorflow: <T>(emit: { op(name: string, inputs: readonly T[]): T }, [x]: readonly T[]): T => emit.op('AddV2', [x as T, x as T]) };
        const x = backend.makeTensorInfo([2], 'float32', Float32Array.of(4, 5));
        return (backend.readSync((backend.run(twice, { x }, {}) as tf.TensorInfo).dataId) as Float32Array)[1] ?? NaN;
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

const modulesOf = (engine: object): number => ('modules' in engine && typeof engine.modules === 'function' ? Number(engine.modules()) : NaN);
