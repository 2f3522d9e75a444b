import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { isWhetstoneError, type WhetstoneError } from '@whetstone/core/contract';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createTensorflowEngine } from '../engines/tensorflow/engine.js';
import { registerGradients } from '../tfjs-patches/gradients.js';
import { createTestBackend, libraryFolder, numbers, random } from '../test-support.js';
import type { WhetstoneBackend } from './backend.js';
import type { RecorderOptions } from './recorder.js';

/** Returns a new backend, whose counters start at zero. */
async function start(options: RecorderOptions = {}): Promise<WhetstoneBackend> {
  registerGradients();
  return createTestBackend(createTensorflowEngine({ libraryFolder: libraryFolder ?? '' }), options);
}

const compiledAlways: RecorderOptions = { maxEagerNodes: 0 };

const parameter = (shape: number[], seed: number): tf.Variable => tf.tidy(() => tf.variable(random(shape, seed)));

/** The loss of a small network: matrix products, activations and a reduction. */
const loss = (input: tf.Tensor, first: tf.Tensor, second: tf.Tensor): tf.Scalar =>
  tf.tidy(
    () => tf.mean(tf.square(tf.sub(tf.sigmoid(tf.matMul(tf.tanh(tf.matMul(input, first)), second)), 0.1))) as tf.Scalar,
  );

describe.skipIf(libraryFolder === null)('recording', () => {
  let tensors = 0;
  beforeEach(() => {
    tensors = tf.memory().numTensors;
  });
  afterEach(() => {
    expect(tf.memory().numTensors, 'leaked tensors').toBe(tensors);
    expect(tf.backend().numDataIds(), 'leaked data ids').toBe(0);
  });

  test('nothing is computed before a read, and disposed results are never computed', async () => {
    const backend = await start();
    const a = random([4, 4]);
    const unused = tf.matMul(a as tf.Tensor2D, a as tf.Tensor2D);
    const used = tf.add(a, 1);
    unused.dispose();
    expect(backend.counters().graphs).toBe(0);
    used.dataSync();
    expect(backend.counters()).toMatchObject({ graphs: 1, nodes: 1 });
    tf.dispose([a, used]);
  });

  test('a structure is compiled once and reused for other lengths, scalars and weights', async () => {
    const backend = await start(compiledAlways);
    const weights = [parameter([6, 8], 2), parameter([8, 5], 3)] as const;
    const step = (rows: number, rate: number): number => {
      const input = random([rows, 6], rows);
      const { value, grads } = tf.variableGrads(() => loss(input, ...weights));
      for (const weight of weights) {
        const gradient = grads[weight.name];
        if (gradient === undefined) throw new Error(`There is no gradient of ${weight.name}.`);
        const updated = tf.tidy(() => tf.sub(weight, tf.mul(gradient, tf.scalar(rate))));
        weight.assign(updated);
        updated.dispose();
      }
      backend.barrier();
      const [read = NaN] = value.dataSync();
      tf.dispose([input, value, ...Object.values(grads)]);
      return read;
    };
    step(3, 0.1);
    const { compiles } = backend.counters();
    expect(compiles).toBe(1);
    for (const [rows, rate] of [
      [4, 0.2],
      [7, 0.3],
      [2, 0.05],
      [3, 0.1],
    ] as const)
      step(rows, rate);
    expect(backend.counters()).toMatchObject({ compiles, cacheHits: 4 });
    tf.dispose([...weights]);
  });

  test('shapes that were equal by coincidence cause one more compilation when they differ', async () => {
    const backend = await start(compiledAlways);
    const compute = (rows: number): number[] =>
      tf.tidy(() => {
        const x = tf.reshape(tf.mul(random([rows * 3], 4), 2), [rows, 3]);
        const y = tf.reshape(tf.add(random([9], 5), 1), [3, 3]);
        return [...tf.matMul(tf.mul(x, 1) as tf.Tensor2D, tf.mul(y, 1) as tf.Tensor2D).dataSync()];
      });
    compute(3);
    expect(backend.counters().compiles).toBe(1);
    expect(compute(2)).toHaveLength(6);
    expect(compute(5)).toHaveLength(15);
    compute(3);
    expect(backend.counters().compiles).toBe(2);
  });

  test('small graphs run op by op three times, then compiled, with the same bits', async () => {
    const backend = await start();
    const input = random([5, 6], 1);
    const weights = [random([6, 8], 2), random([8, 5], 3)] as const;
    const gradient = tf.grad((x: tf.Tensor) => loss(x, ...weights));
    const results = Array.from({ length: 6 }, () => tf.tidy(() => [...gradient(input).dataSync()]));
    expect(backend.counters()).toMatchObject({ eagerGraphs: 3, compiles: 1, cacheHits: 2 });
    for (const result of results) expect(result).toEqual(results[0]);
    tf.dispose([input, ...weights]);
  });

  test('repeated large reductions give the same bits', async () => {
    await start(compiledAlways);
    const a = random([700, 300], 1);
    const b = random([300, 500], 2);
    const run = (): number[] =>
      tf.tidy(() => {
        const product = tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D);
        return [
          ...tf
            .concat([tf.sum(product, 0), tf.sum(product, 1), tf.reshape(tf.sum(tf.softmax(product)), [1])])
            .dataSync(),
        ];
      });
    const first = run();
    for (let again = 0; again < 3; again++) expect(run()).toEqual(first);
    tf.dispose([a, b]);
  });

  test('counters equal those of a computation counted by hand', async () => {
    const backend = await start(compiledAlways);
    const a = random([8, 4], 1); // 128 bytes
    const b = random([4, 2], 2); // 32 bytes
    // [8, 2] takes 64 bytes, and the 3 takes 4 bytes once.
    const compute = (): tf.Tensor => tf.tidy(() => tf.mul(tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D), 3));
    const first = compute();
    first.dataSync();
    expect(backend.counters()).toMatchObject({
      graphs: 1,
      compiles: 1,
      cacheHits: 0,
      eagerGraphs: 0,
      hostToDeviceBytes: 164,
      deviceBytes: 224,
      peakDeviceBytes: 224,
    });
    const second = compute();
    second.dataSync();
    expect(backend.counters()).toMatchObject({
      graphs: 2,
      compiles: 1,
      cacheHits: 1,
      hostToDeviceBytes: 164,
      deviceBytes: 288,
      peakDeviceBytes: 288,
    });
    tf.dispose([a, b, first]);
    expect(backend.counters()).toMatchObject({ deviceBytes: 64, peakDeviceBytes: 288 });
    second.dispose();
  });

  test('a graph that is compiled repeatedly causes one warning, which names the difference', async () => {
    await start(compiledAlways);
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const x = random([4, 6], 1);
    // Only the permutation differs, which is part of the structure.
    const compute = (permutation: number[]): void =>
      tf.tidy(() => {
        let value: tf.Tensor = tf.reshape(x, [2, 2, 6]);
        for (let index = 0; index < 20; index++) value = tf.tanh(value);
        tf.transpose(value, permutation).dataSync();
      });
    const orders = [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ];
    for (const order of orders) compute(order);
    for (const order of orders) compute(order);
    expect(warn.mock.calls.map(([message]) => String(message))).toEqual([
      expect.stringMatching(/compiled 6 times.*Transpose\(float32\) \{.*2.*1.*0\}, which was Transpose\(float32\)/),
    ]);
    warn.mockRestore();
    x.dispose();
  });

  test('the least recently used executables are evicted', async () => {
    const backend = await start({ ...compiledAlways, capacity: 2 });
    const chain = (length: number): void =>
      tf.tidy(() => {
        let value: tf.Tensor = tf.scalar(1);
        for (let index = 0; index < length; index++) value = tf.add(value, 1);
        expect(value.dataSync()[0]).toBe(length + 1);
      });
    for (const length of [1, 2, 3]) chain(length);
    expect(backend.counters().compiles).toBe(3);
    expect(backend.recorder.runner.programs.size).toBe(2);
    chain(3);
    chain(2);
    expect(backend.counters().compiles).toBe(3);
    chain(1);
    expect(backend.counters().compiles).toBe(4);
  });

  test('a recording is submitted at the size limit', async () => {
    const backend = await start({ maxNodes: 10 });
    const result = tf.tidy(() => {
      let value: tf.Tensor = tf.scalar(0);
      for (let index = 0; index < 35; index++) value = tf.add(value, 1);
      return value;
    });
    expect(result.dataSync()[0]).toBe(35);
    expect(backend.counters().graphs).toBe(4);
    result.dispose();
  });

  test('the first segment of a long recording is submitted early, once between two barriers', async () => {
    const backend = await start({ firstNodes: 10 });
    const chain = (length: number): tf.Tensor =>
      tf.tidy(() => {
        // Every operand needs a view of another shape: a view must stay in the segment of its operation.
        const ones = tf.tensor1d([1, 1, 1, 1]);
        let value: tf.Tensor = tf.tensor1d([1, 1, 1, 1]);
        for (let index = 0; index < length; index++)
          value = tf.reshape(tf.add(tf.reshape(value, [2, 2]), tf.reshape(ones, [2, 2])), [4]);
        return value;
      });
    const long = chain(60);
    expect(backend.counters().graphs).toBe(1);
    expect([...long.dataSync()]).toEqual([61, 61, 61, 61]);
    expect(backend.counters().graphs).toBe(2);
    const short = chain(3);
    expect([...short.dataSync()]).toEqual([4, 4, 4, 4]);
    expect(backend.counters().graphs).toBe(3);
    tf.dispose([long, short]);
  });

  test('the first segment keeps no cheap result that the rest can recompute', async () => {
    const backend = await start({ firstNodes: 4 });
    const [x, y] = [random([64, 64], 1), random([64, 64], 2)];
    const bytes = 4 * 64 * 64;
    const expected = [...x.dataSync()].map((value, index) => Math.fround(value * (y.dataSync()[index] ?? NaN)));
    const product = tf.mul(x, y);
    const chain = [tf.tanh(product)];
    const unused = tf.mul(y, y);
    for (let index = 0; index < 3; index++) chain.push(tf.tanh(chain.at(-1) as tf.Tensor));
    expect(backend.counters()).toMatchObject({ graphs: 1, nodes: 4 });
    // x, y, two results of the chain, and the product that no operation has used.
    expect(backend.counters().deviceBytes).toBe(5 * bytes);
    tf.dispose(x);
    expect([...product.dataSync()]).toEqual(expected);
    expect([...(chain.at(-1) as tf.Tensor).dataSync()][0]).toBeCloseTo(
      Math.tanh(Math.tanh(Math.tanh(Math.tanh(expected[0] ?? NaN)))),
      6,
    );
    tf.dispose([y, product, unused, ...chain]);
    expect(backend.counters().deviceBytes).toBe(0);
  });

  test('changing a host array after creating a tensor has no effect', async () => {
    await start();
    for (const size of [3, 100]) {
      const values = new Float32Array(size).fill(1);
      const tensor = tf.tensor1d(values);
      const doubled = tf.mul(tensor, 2);
      values.fill(9);
      expect(doubled.dataSync()[0]).toBe(2);
      tf.dispose([tensor, doubled]);
    }
  });

  test('changing the result of a read has no effect', async () => {
    await start();
    const tensor = tf.tensor1d([1, 2]);
    tensor.dataSync().fill(7);
    expect([...tensor.dataSync()]).toEqual([1, 2]);
    tensor.dispose();
  });

  test('the event loop runs during an asynchronous read, whose tensor may be disposed', async () => {
    await start();
    const a = random([1200, 1200], 1) as tf.Tensor2D;
    const product = tf.tidy(() => {
      let value = a;
      for (let index = 0; index < 12; index++) value = tf.mul(tf.matMul(value, a), 0.01);
      return value;
    });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const reading = product.data();
    product.dispose();
    expect(await reading).toHaveLength(1200 * 1200);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(3);
    a.dispose();
  });

  test('tensors move between backends and back', async () => {
    await start();
    const own = tf.getBackend();
    const a = tf.tidy(() => tf.add(random([3, 3], 1), 1));
    await tf.setBackend('cpu');
    const onCpu = tf.mul(a, 2);
    await tf.setBackend(own);
    const back = tf.add(onCpu, a);
    expect(back.dataSync()[0]).toBeCloseTo(3 * ((numbers(1, 1)[0] ?? 0) + 1), 5);
    tf.dispose([a, onCpu, back]);
  });

  test('complex numbers of another backend are moved and disposed with both components', async () => {
    const backend = await start();
    const own = tf.getBackend();
    await tf.setBackend('cpu');
    const pairs = tf.tidy(() => tf.complex(tf.tensor1d([1, 2]), tf.tensor1d([3, 4])));
    await tf.setBackend(own);
    const squared = tf.tidy(() => tf.mul(pairs, pairs));
    // (1 + 3i)² = -8 + 6i, (2 + 4i)² = -12 + 16i.
    expect([...squared.dataSync()]).toEqual([-8, 6, -12, 16]);
    const imaginary = tf.imag(pairs);
    expect([...imaginary.dataSync()]).toEqual([3, 4]);
    tf.dispose([squared, imaginary, pairs]);
    expect(backend.counters().deviceBytes).toBe(0);
  });

  test('device memory is counted, and freed by disposal', async () => {
    const backend = await start();
    const a = random([100, 100], 1);
    expect(backend.counters()).toMatchObject({ deviceBytes: 40_000, hostToDeviceBytes: 40_000 });
    const b = tf.add(a, 1);
    b.dataSync();
    expect(backend.counters().deviceBytes).toBe(80_000);
    const view = tf.reshape(b, [50, 200]);
    b.dispose();
    expect(backend.counters().deviceBytes).toBe(80_000);
    tf.dispose([a, view]);
    expect(backend.counters()).toMatchObject({ deviceBytes: 0, peakDeviceBytes: 80_000 });
  });

  test('a thousand steps leak no memory', async () => {
    const backend = await start();
    const weight = parameter([16, 16], 1);
    const input = random([4, 16], 2);
    const step = (): void => {
      const { value, grads } = tf.variableGrads(
        () => tf.mean(tf.square(tf.matMul(input as tf.Tensor2D, weight as tf.Tensor as tf.Tensor2D))) as tf.Scalar,
      );
      const updated = tf.tidy(() => tf.sub(weight, tf.mul(Object.values(grads)[0] ?? 0, 0.01)));
      weight.assign(updated);
      tf.dispose([updated, value, ...Object.values(grads)]);
      backend.barrier();
    };
    for (let index = 0; index < 10; index++) step();
    const before = { ...tf.memory(), device: backend.counters().deviceBytes, ids: backend.numDataIds() };
    for (let index = 0; index < 1000; index++) step();
    expect({ ...tf.memory(), device: backend.counters().deviceBytes, ids: backend.numDataIds() }).toEqual(before);
    tf.dispose([weight, input]);
  });
});

describe.skipIf(libraryFolder === null)('errors', () => {
  const caught = (work: () => unknown): WhetstoneError => {
    try {
      work();
    } catch (error) {
      if (isWhetstoneError(error)) return error;
      throw error;
    }
    throw new Error('Nothing was thrown.');
  };

  test('an error names the failed operation and its shapes, and later operations work', async () => {
    await start();
    const table = random([4, 3], 1);
    const outside = tf.tensor1d([1, 9], 'int32');
    const error = caught(() => tf.gather(table, outside).dataSync());
    expect(error.code).toBe('BACKEND_FAILED');
    expect(error.message).toContain('GatherV2(float32 [4, 3], int32 [2])');
    expect(tf.add(table, 1).dataSync()).toHaveLength(12);
  });

  test('an error in a compiled graph names the operation in an asynchronous read', async () => {
    await start(compiledAlways);
    const table = random([4, 3], 1);
    const outside = tf.tensor1d([1, 9], 'int32');
    await expect(tf.mul(tf.gather(tf.mul(table, 2), outside), 2).data()).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringContaining('GatherV2(float32 [4, 3]') as string,
    });
    expect(await tf.add(table, 1).data()).toHaveLength(12);
  });

  test('an operation on a failed value throws the original error', async () => {
    await start();
    const failed = tf.gather(random([4, 3], 1), tf.tensor1d([9], 'int32'));
    const dependent = tf.add(failed, 1);
    expect(caught(() => dependent.dataSync()).message).toContain('GatherV2');
  });

  test('incompatible shapes throw when the operation is called', async () => {
    await start();
    expect(() => tf.add(random([2, 3], 1), random([4, 5], 1))).toThrow(/2,3/);
    expect(() => tf.matMul(random([2, 3], 1) as tf.Tensor2D, random([4, 5], 1) as tf.Tensor2D)).toThrow(/inner/i);
  });

  test("a result larger than the machine's memory throws, and later operations work", async () => {
    await start();
    expect(caught(() => tf.tile(random([4, 4], 1), [1 << 22, 1 << 22])).code).toBe('OUT_OF_MEMORY');
    expect(tf.add(1, 1).dataSync()[0]).toBe(2);
  });
});
