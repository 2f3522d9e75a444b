import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder, numbers, random, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';
import type { WhetstoneBackend } from './backend.js';

// Compares random programs with tfjs's cpu backend: repeated layers, and deviations that break a repeat. Every
// operation is smooth and keeps values within [-2, 2], so that rounding errors stay small.

type Layer = (x: tf.Tensor2D, weight: tf.Tensor2D, square: tf.Tensor2D) => tf.Tensor;

/** Pairs of operations that are easily confused. */
const operations: readonly Layer[] = [
  (x) => tf.tanh(x),
  (x, weight) => tf.sin(tf.add(x, weight)),
  (x, _, square) => tf.tanh(tf.matMul(x, square)),
  (x, _, square) => tf.tanh(tf.matMul(x, square, false, true)),
  (x) => tf.softmax(x),
  (x) => tf.transpose(tf.sigmoid(tf.transpose(x))),
  (x) => tf.concat([tf.slice(x, [1, 0], [2, 4]), tf.slice(x, [0, 0], [1, 4])], 0),
  (x) => tf.reverse(x, 1),
  (x) => tf.clipByValue(x, -1, 1),
  (x) => tf.clipByValue(x, -0.5, 1),
  (x) => tf.mul(x, tf.scalar(0.75)),
  (x) => tf.mul(x, tf.scalar(0.875)),
  (x) => tf.tanh(tf.cumsum(x, 0)),
  (x) => tf.tanh(tf.cumsum(x, 1, true, true)),
  (x) => tf.leakyRelu(x, 0.25),
  (x) => tf.leakyRelu(x, 0.125),
  (x, weight) => tf.where(tf.greater(weight, 0), x, tf.neg(x)),
  (x, weight) => tf.mul(tf.cast(tf.cast(tf.greater(weight, 0), 'int32'), 'float32'), x),
  (x) => tf.sub(x, tf.mean(x, 1, true)),
  (x) =>
    tf.slice(
      tf.pad(x, [
        [1, 1],
        [0, 2],
      ]),
      [1, 0],
      [3, 4],
    ),
  (x) => tf.gather(x, [2, 0, 1]),
  (x) => tf.sub(tf.unstack(tf.stack([x, tf.tanh(x)]))[0] as tf.Tensor, tf.zeros([3, 4])),
];

/** Returns a generator of integers below a limit that repeats for a seed. */
function createPick(seed: number): (limit: number) => number {
  const stream = numbers(4096, seed * 7919 + 1);
  let position = 0;
  return (limit) => Math.min(limit - 1, Math.floor((((stream[position++ % stream.length] ?? 0) + 1) / 2) * limit));
}

/** Runs the program of a seed on the current backend and returns everything that it reads. */
async function run(seed: number): Promise<Float32Array[]> {
  const pick = createPick(seed);
  const layers = 7 + pick(4);
  const body = Array.from({ length: 26 }, () => pick(operations.length));
  const [odd, oddAt, escaping, escapingAt, reading, cutting] = [
    pick(2 * layers),
    pick(26),
    pick(layers),
    pick(26),
    pick(3 * layers),
    pick(3 * layers),
  ];
  const [alternates, disposes, assigns, shares] = [pick(4) === 0, pick(2) === 0, pick(2) === 0, pick(2) === 0];
  const weights = Array.from({ length: layers }, (_, layer) => random<tf.Rank.R2>([3, 4], seed + layer));
  const squares = Array.from({ length: layers }, (_, layer) => random<tf.Rank.R2>([4, 4], seed - layer));
  const variable = tf.tidy(() => tf.variable(random([3, 4], seed)));
  const common = tf.tanh(variable);
  const read: (Float32Array | Promise<Float32Array>)[] = [];
  const kept: tf.Tensor[] = [];
  let x: tf.Tensor2D = random<tf.Rank.R2>([3, 4], seed + 100);
  for (let layer = 0; layer < layers; layer++) {
    const before = x;
    x = tf.tidy(() => {
      let value = before;
      body.forEach((number, at) => {
        const changed = (layer === odd && at === oddAt) || (alternates && layer % 2 === 1 && at === 3);
        const made = (operations[changed ? number ^ 1 : number] as Layer)(
          value,
          weights[layer] as tf.Tensor2D,
          squares[layer] as tf.Tensor2D,
        );
        value = tf.clipByValue(shares && at === 5 ? tf.add(made, common) : made, -2, 2) as tf.Tensor2D;
        if (assigns && at === 9) value = tf.sin(tf.add(value, variable)) as tf.Tensor2D;
        if (layer === escaping && at === escapingAt) kept.push(tf.keep(tf.clone(value)));
      });
      if (layer === reading) read.push(value.dataSync<'float32'>());
      return value;
    });
    before.dispose();
    if (assigns) {
      const next = tf.tidy(() => tf.tanh(tf.add(variable, x)));
      variable.assign(next as tf.Tensor2D);
      next.dispose();
    }
    if (disposes) tf.dispose([weights[layer], squares[layer]]);
    if (layer === cutting) read.push(x.data<'float32'>());
  }
  for (const tensor of [x, ...kept, variable]) read.push(tensor.dataSync<'float32'>());
  tf.dispose([x, ...kept, ...weights, ...squares, variable, common]);
  return Promise.all(read);
}

const engines = [
  {
    engine: 'tensorflow',
    missing: libraryFolder === null,
    seeds: 10,
    start: () => startBackend({ recorder: { maxEagerNodes: 0, firstNodes: 20 } }),
  },
  { engine: 'xla', missing: xlaPlugin === null, seeds: 2, start: () => startXlaBackend({ moduleFolder: null }) },
];

describe.each(engines)('random programs, on $engine', ({ missing, seeds, start }) => {
  let backend: WhetstoneBackend;
  beforeAll(async () => {
    if (!missing) backend = await start();
  });

  test.skipIf(missing)(
    'equal the cpu backend and leak nothing',
    async () => {
      for (let seed = 1; seed <= seeds; seed++) {
        await tf.setBackend('cpu');
        const expected = await run(seed);
        await tf.setBackend('whetstone');
        const before = {
          tensors: tf.memory().numTensors,
          ids: backend.numDataIds(),
          bytes: backend.counters().deviceBytes,
        };
        const found = await run(seed);
        backend.barrier();
        expect(
          { tensors: tf.memory().numTensors, ids: backend.numDataIds(), bytes: backend.counters().deviceBytes },
          `seed ${seed}`,
        ).toEqual(before);
        expect(found.length).toBe(expected.length);
        found.forEach((values, which) =>
          values.forEach((value, index) => {
            expect(
              Math.abs(value - (expected[which]?.[index] ?? NaN)),
              `seed ${seed}, read ${which} at ${index}: ${value} for ${expected[which]?.[index]}`,
            ).toBeLessThan(1e-4);
          }),
        );
      }
    },
    60_000,
  );
});
