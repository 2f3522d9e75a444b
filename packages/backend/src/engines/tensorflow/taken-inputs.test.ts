import * as tf from '@tensorflow/tfjs-core';
import { adamwUpdate } from '@whetstone/core/ops/internal';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WhetstoneBackend } from '../../recorder/backend.js';
import type { Value } from '../../recorder/value.js';
import { libraryFolder, numbers, startBackend } from '../../test-support.js';
import { loadTensorflowLibrary } from './library.js';
import { Status } from './status.js';

/** Large enough to be taken over. */
const size = 100_000;
const rates = { stepSize: 0.01, decay: 0.999, correction: 1.5 };

interface Updated {
  readonly parameter: tf.Tensor;
  readonly first: tf.Tensor;
  readonly second: tf.Tensor;
}

describe.skipIf(libraryFolder === null)('inputs that a function takes over', () => {
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

  /** Records one update, and lets go of what it replaces, as the optimizer does. */
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

  test('an update writes where the parameter and its moments lie', () => {
    let state = start();
    // Results of a function's first run are promises, which have no address.
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

  test('and comes to the same bits as one whose inputs are kept, which stay as they were', () => {
    let state = start();
    for (const seed of [4, 5]) state = update(state, seed);
    const taken = read(state);
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
    expect(read(other)).toEqual(taken);
    expect(read(kept)).toEqual(original);
    expect(taken[0]).not.toEqual(original[0]);
    tf.dispose([...Object.values(other), ...Object.values(kept)]);
  });

  test('updates of several parameters at once write in place and come to the bits of each alone', () => {
    const seeds = [4, 5, 6];
    const steps = [0, 1, 2, 3];
    const alone = seeds.map((seed) => steps.reduce((state, step) => update(state, seed + step), start()));
    let together = seeds.map(start);
    const places: bigint[][] = [];
    for (const step of steps) {
      together = together.map((state, index) => record(state, (seeds[index] ?? 0) + step));
      backend.barrier();
      backend.engine.wait();
      if (step > 1) places.push(together.flatMap(addresses));
    }
    expect(together.map(read)).toEqual(alone.map(read));
    expect(places[1]).toEqual(places[0]);
    tf.dispose([...alone, ...together].flatMap((state) => Object.values(state) as tf.Tensor[]));
  });

  test('a read that is under way gets the numbers as they were', async () => {
    const state = start();
    const original = Array.from(state.parameter.dataSync());
    const reading = state.parameter.data();
    const next = update(state, 7);
    expect(Array.from(await reading)).toEqual(original);
    expect(Array.from(next.parameter.dataSync())).not.toEqual(original);
    tf.dispose([next.parameter, next.first, next.second]);
  });

  test('leaves nothing behind', () => {
    let state = update(start(), 4);
    backend.engine.wait();
    const before = backend.counters().deviceBytes;
    for (let round = 0; round < 4; round++) state = update(state, 5 + round);
    expect(backend.counters().deviceBytes).toBe(before);
    tf.dispose([state.parameter, state.first, state.second]);
  });
});
