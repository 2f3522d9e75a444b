import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { isWhetstoneError, type WhetstoneError } from '@whetstone/core/contract';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createTensorflowEngine } from '../engines/tensorflow/engine.js';
import { registerLeanGradients } from '../fused/gradients.js';
import { registerKernels } from '../kernels/index.js';
import { libraryFolder, numbers, random } from '../test-support.js';
import { WhetstoneBackend } from './backend.js';
import type { RecorderOptions } from './recorder.js';

let count = 0;

/** A backend of its own under a name of its own, so that its counters start at zero. */
async function fresh(options: RecorderOptions = {}): Promise<WhetstoneBackend> {
  const name = `whetstone-test-${count++}`;
  const backend = new WhetstoneBackend(createTensorflowEngine({ libraryFolder: libraryFolder ?? '' }), options);
  tf.registerBackend(name, () => backend);
  registerKernels(name);
  registerLeanGradients();
  await tf.setBackend(name);
  return backend;
}

const compiledAlways: RecorderOptions = { eagerNodes: 0 };

const parameter = (shape: number[], seed: number): tf.Variable => tf.tidy(() => tf.variable(random(shape, seed)));

/** A small network's loss: matmuls, activations, a reduction. */
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
    expect(tf.memory().numTensors, 'tensors left behind').toBe(tensors);
    expect(tf.backend().numDataIds(), 'data ids left behind').toBe(0);
  });

  test('nothing is computed until somebody looks, and what nobody holds never is', async () => {
    const backend = await fresh();
    const a = random([4, 4]);
    const unused = tf.matMul(a as tf.Tensor2D, a as tf.Tensor2D);
    const used = tf.add(a, 1);
    unused.dispose();
    expect(backend.counters().graphs).toBe(0);
    used.dataSync();
    expect(backend.counters()).toMatchObject({ graphs: 1, nodes: 1 });
    tf.dispose([a, used]);
  });

  test('graphs of one structure are compiled once, whatever their lengths, scalars and weights', async () => {
    const backend = await fresh(compiledAlways);
    const weights = [parameter([6, 8], 2), parameter([8, 5], 3)] as const;
    const step = (rows: number, rate: number): number => {
      const input = random([rows, 6], rows);
      const { value, grads } = tf.variableGrads(() => loss(input, ...weights));
      for (const weight of weights) {
        const gradient = grads[weight.name];
        if (gradient === undefined) throw new Error('a gradient is missing');
        const moved = tf.tidy(() => tf.sub(weight, tf.mul(gradient, tf.scalar(rate))));
        weight.assign(moved);
        moved.dispose();
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

  test('shapes that were equal by chance are told apart by compiling once more, and then for good', async () => {
    const backend = await fresh(compiledAlways);
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

  test('small graphs run op by op until they come back; both ways give the same bits', async () => {
    const backend = await fresh();
    const input = random([5, 6], 1);
    const weights = [random([6, 8], 2), random([8, 5], 3)] as const;
    const gradient = tf.grad((x: tf.Tensor) => loss(x, ...weights));
    const results = Array.from({ length: 6 }, () => tf.tidy(() => [...gradient(input).dataSync()]));
    expect(backend.counters()).toMatchObject({ eagerGraphs: 3, compiles: 1, cacheHits: 2 });
    for (const result of results) expect(result).toEqual(results[0]);
    tf.dispose([input, ...weights]);
  });

  test('two runs of one large reduction give the same bits', async () => {
    await fresh(compiledAlways);
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

  test('the counters of a computation that can be counted by hand', async () => {
    const backend = await fresh({ ...compiledAlways });
    const a = random([8, 4], 1); // 128 bytes
    const b = random([4, 2], 2); // 32 bytes
    // [8, 2]: 64 bytes; the 3: 4 bytes, once
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

  test('a graph that is compiled again and again is told once, with what changes', async () => {
    await fresh(compiledAlways);
    const said = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const x = random([4, 6], 1);
    // The axis of a softmax by hand is structure; nothing else differs.
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
    expect(said.mock.calls.map(([message]) => String(message))).toEqual([
      expect.stringMatching(/compiled 6 times.*Transpose\(float32\) \{.*2.*1.*0\}; it was Transpose\(float32\)/),
    ]);
    said.mockRestore();
    x.dispose();
  });

  test('the executables used longest ago are thrown out', async () => {
    const backend = await fresh({ ...compiledAlways, capacity: 2 });
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

  test('a size cap cuts the recording', async () => {
    const backend = await fresh({ mostNodes: 10 });
    const result = tf.tidy(() => {
      let value: tf.Tensor = tf.scalar(0);
      for (let index = 0; index < 35; index++) value = tf.add(value, 1);
      return value;
    });
    expect(result.dataSync()[0]).toBe(35);
    expect(backend.counters().graphs).toBe(4);
    result.dispose();
  });

  test('the start of a long recording is submitted while the rest is recorded, once between two barriers', async () => {
    const backend = await fresh({ firstNodes: 10 });
    const chain = (length: number): tf.Tensor =>
      tf.tidy(() => {
        // Each operand is seen under another shape: reshapes that only the recording knows must not be torn from their
        // operation.
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

  test('the first part keeps no cheap result that the rest can compute from what is kept anyway', async () => {
    const backend = await fresh({ firstNodes: 4 });
    const [x, y] = [random([64, 64], 1), random([64, 64], 2)];
    const bytes = 4 * 64 * 64;
    const expected = [...x.dataSync()].map((value, index) => Math.fround(value * (y.dataSync()[index] ?? NaN)));
    const product = tf.mul(x, y);
    const chain = [tf.tanh(product)];
    const unused = tf.mul(y, y);
    for (let index = 0; index < 3; index++) chain.push(tf.tanh(chain.at(-1) as tf.Tensor));
    expect(backend.counters()).toMatchObject({ graphs: 1, nodes: 4 });
    // x, y, two of the chain and the product that nothing in this part used.
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

  test('a host array that changes after it was given changes nothing', async () => {
    await fresh();
    for (const size of [3, 100]) {
      const values = new Float32Array(size).fill(1);
      const given = tf.tensor1d(values);
      const doubled = tf.mul(given, 2);
      values.fill(9);
      expect(doubled.dataSync()[0]).toBe(2);
      tf.dispose([given, doubled]);
    }
  });

  test('a value that is read can be changed by the reader', async () => {
    await fresh();
    const given = tf.tensor1d([1, 2]);
    given.dataSync().fill(7);
    expect([...given.dataSync()]).toEqual([1, 2]);
    given.dispose();
  });

  test('an asynchronous read serves the event loop, and survives that its tensor is disposed meanwhile', async () => {
    await fresh();
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
    await fresh();
    const own = tf.getBackend();
    const a = tf.tidy(() => tf.add(random([3, 3], 1), 1));
    await tf.setBackend('cpu');
    const there = tf.mul(a, 2);
    await tf.setBackend(own);
    const back = tf.add(there, a);
    expect(back.dataSync()[0]).toBeCloseTo(3 * ((numbers(1, 1)[0] ?? 0) + 1), 5);
    tf.dispose([a, there, back]);
  });

  test('complex numbers of another backend move here, and go with their parts', async () => {
    const backend = await fresh();
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

  test('device memory is counted, and freed when tfjs disposes', async () => {
    const backend = await fresh();
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

  test('a thousand steps leave memory as it was', async () => {
    const backend = await fresh();
    const weight = parameter([16, 16], 1);
    const input = random([4, 16], 2);
    const step = (): void => {
      const { value, grads } = tf.variableGrads(
        () => tf.mean(tf.square(tf.matMul(input as tf.Tensor2D, weight as tf.Tensor as tf.Tensor2D))) as tf.Scalar,
      );
      const moved = tf.tidy(() => tf.sub(weight, tf.mul(Object.values(grads)[0] ?? 0, 0.01)));
      weight.assign(moved);
      tf.dispose([moved, value, ...Object.values(grads)]);
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
    throw new Error('nothing was thrown');
  };

  test('an operation that fails is named with its shapes, and the next one works', async () => {
    await fresh();
    const table = random([4, 3], 1);
    const outside = tf.tensor1d([1, 9], 'int32');
    const error = caught(() => tf.gather(table, outside).dataSync());
    expect(error.code).toBe('BACKEND_FAILED');
    expect(error.message).toContain('GatherV2(float32 [4, 3], int32 [2])');
    expect(tf.add(table, 1).dataSync()).toHaveLength(12);
  });

  test('the same in a compiled graph and in an asynchronous read', async () => {
    await fresh(compiledAlways);
    const table = random([4, 3], 1);
    const outside = tf.tensor1d([1, 9], 'int32');
    await expect(tf.mul(tf.gather(tf.mul(table, 2), outside), 2).data()).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringContaining('GatherV2(float32 [4, 3]') as string,
    });
    expect(await tf.add(table, 1).data()).toHaveLength(12);
  });

  test('what depends on a failed value fails with its reason', async () => {
    await fresh();
    const failed = tf.gather(random([4, 3], 1), tf.tensor1d([9], 'int32'));
    const after = tf.add(failed, 1);
    expect(caught(() => after.dataSync()).message).toContain('GatherV2');
  });

  test('shapes that do not fit are refused when the operation is called', async () => {
    await fresh();
    expect(() => tf.add(random([2, 3], 1), random([4, 5], 1))).toThrow(/2,3/);
    expect(() => tf.matMul(random([2, 3], 1) as tf.Tensor2D, random([4, 5], 1) as tf.Tensor2D)).toThrow(/inner/i);
  });

  test('more memory than the machine has is refused before anything breaks', async () => {
    await fresh();
    expect(caught(() => tf.tile(random([4, 4], 1), [1 << 22, 1 << 22])).code).toBe('OUT_OF_MEMORY');
    expect(tf.add(1, 1).dataSync()[0]).toBe(2);
  });
});
