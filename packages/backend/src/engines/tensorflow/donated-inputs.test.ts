import * as tf from '@tensorflow/tfjs-core';
import { adamwUpdate } from '@whetstone/core/ops/internal';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WhetstoneBackend } from '../../recorder/backend.js';
import type { Value } from '../../recorder/value.js';
import { libraryFolder, numbers, startBackend } from '../../test-support.js';
import { loadTensorflowLibrary } from './library.js';
import { Status } from './status.js';

/** Large enough to be donated. */
const size = 100_000;
const rates = { stepSize: 0.01, decay: 0.999, correction: 1.5 };

interface Updated {
  readonly parameter: tf.Tensor;
  readonly first: tf.Tensor;
  readonly second: tf.Tensor;
}

describe.skipIf(libraryFolder === null)('donated inputs', () => {
  let backend: WhetstoneBackend;
  beforeAll(async () => {
    backend = await startBackend();
  });

  const addressOf = (tensor: tf.Tensor): bigint => {
    const library = loadTensorflowLibrary(libraryFolder ?? '');
    const status = new Status(library);
    const { tensor: handle } = tensor.dataId as unknown as Value;
    expect(handle).toBeGreaterThan(0n);
    const resolved = library.TFE_TensorHandleResolve(handle ?? 0n, status.pointer);
    status.check();
    const address = library.TF_TensorData(resolved);
    library.TF_DeleteTensor(resolved);
    status.dispose();
    return address;
  };
  const addresses = ({ parameter, first, second }: Updated): bigint[] => [parameter, first, second].map(addressOf);
  const start = (): Updated => ({
    parameter: tf.tensor1d(numbers(size, 1)),
    first: tf.tensor1d(numbers(size, 2)),
    second: tf.abs(tf.tensor1d(numbers(size, 3))),
  });

  /** Records one update and disposes of the replaced tensors, as the optimizer does. */
  const record = ({ parameter, first, second }: Updated, seed: number): Updated => {
    const gradient = tf.tensor1d(numbers(size, seed));
    const [newParameter, newFirst, newSecond] = tf.tidy(() =>
      adamwUpdate(
        { parameter, gradient, firstMoment: first, secondMoment: second },
        { stepSize: tf.scalar(rates.stepSize), decay: tf.scalar(rates.decay), correction: tf.scalar(rates.correction) },
        { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 },
        (value) => tf.scalar(value),
      ),
    );
    tf.dispose([parameter, first, second, gradient]);
    return { parameter: newParameter, first: newFirst, second: newSecond };
  };
  const update = (state: Updated, seed: number): Updated => {
    const updated = record(state, seed);
    backend.barrier();
    return updated;
  };
  const read = ({ parameter, first, second }: Updated): number[][] =>
    [parameter, first, second].map((tensor) => Array.from(tensor.dataSync()));

  test('are updated in place: the parameter and its moments keep their addresses', () => {
    let state = start();
    // Results of a function's first run are pending and have no address.
    for (const seed of [4, 5, 6]) {
      state = update(state, seed);
      backend.engine.wait();
    }
    const before = addresses(state);
    for (const seed of [7, 8]) {
      state = update(state, seed);
      backend.engine.wait();
      expect(addresses(state)).toEqual(before);
    }
    tf.dispose([state.parameter, state.first, state.second]);
  });

  test('give the same bits as inputs that are also used elsewhere, which do not change', () => {
    let state = start();
    for (const seed of [4, 5]) state = update(state, seed);
    const donated = read(state);
    tf.dispose([state.parameter, state.first, state.second]);

    const inputs = start();
    const kept = { parameter: inputs.parameter.clone(), first: inputs.first.clone(), second: inputs.second.clone() };
    const original = read(kept);
    let other = inputs;
    for (const seed of [4, 5]) {
      const held = Object.values(other).map((tensor: tf.Tensor) => tensor.clone());
      other = update(other, seed);
      tf.dispose(held);
    }
    expect(read(other)).toEqual(donated);
    expect(read(kept)).toEqual(original);
    expect(donated[0]).not.toEqual(original[0]);
    tf.dispose([...Object.values(other), ...Object.values(kept)]);
  });

  test('of several parameters are updated in place at once, with the same bits as one by one', () => {
    const seeds = [4, 5, 6];
    const steps = [0, 1, 2, 3];
    const alone = seeds.map((seed) => steps.reduce((state, step) => update(state, seed + step), start()));
    let together = seeds.map(start);
    const history: bigint[][] = [];
    for (const step of steps) {
      together = together.map((state, index) => record(state, (seeds[index] ?? 0) + step));
      backend.barrier();
      backend.engine.wait();
      if (step > 1) history.push(together.flatMap(addresses));
    }
    expect(together.map(read)).toEqual(alone.map(read));
    expect(history[1]).toEqual(history[0]);
    tf.dispose([...alone, ...together].flatMap((state) => Object.values(state) as tf.Tensor[]));
  });

  test('are not overwritten before a pending read gets their values', async () => {
    const state = start();
    const original = Array.from(state.parameter.dataSync());
    const reading = state.parameter.data();
    const next = update(state, 7);
    expect(Array.from(await reading)).toEqual(original);
    expect(Array.from(next.parameter.dataSync())).not.toEqual(original);
    tf.dispose([next.parameter, next.first, next.second]);
  });

  test('leave no memory allocated', () => {
    let state = update(start(), 4);
    backend.engine.wait();
    const before = backend.counters().deviceBytes;
    for (let round = 0; round < 4; round++) state = update(state, 5 + round);
    expect(backend.counters().deviceBytes).toBe(before);
    tf.dispose([state.parameter, state.first, state.second]);
  });
});
