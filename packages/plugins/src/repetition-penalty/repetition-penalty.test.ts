import '@whetstone/core/tfjs-gradients';
import '@tensorflow/tfjs-backend-cpu';
import {
  add,
  clone,
  engine,
  memory,
  mul,
  ready,
  setBackend,
  tensor2d,
  tidy,
  type Scalar,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { candidatesOf, repliesOf } from './candidates.js';
import { concentration, unlikelihood } from './terms.js';

const numberOf = (make: () => Scalar): number => tidy(() => make().dataSync()[0] ?? NaN);

/** Compares the gradient of `loss` at `logits` with finite differences along the gradient. */
function expectGradient(loss: (logits: Tensor2D) => Scalar, logits: Tensor2D): void {
  const before = memory().numTensors;
  const { value, grads } = engine().gradients(() => loss(logits), [logits]);
  const [gradient] = grads as [Tensor2D];
  const values = Array.from(gradient.dataSync());
  const norm = Math.sqrt(values.reduce((sum, each) => sum + each * each, 0));
  const at = (distance: number): number =>
    numberOf(() => loss(add(logits, mul(gradient, distance / norm)) as Tensor2D));
  expect((at(1e-2) - at(-1e-2)) / 2e-2).toBeCloseTo(norm, 3);
  value.dispose();
  gradient.dispose();
  expect(memory().numTensors).toBe(before);
}

describe('repetition-penalty', () => {
  beforeAll(async () => {
    await setBackend('cpu');
    await ready();
  });

  it('finds replies as runs of positions in one row and segment', () => {
    const supervised = { positions: Int32Array.of(1, 2, 5, 6, 8, 9), targets: new Int32Array(6) };
    expect(repliesOf(supervised, { length: 8 }, Int32Array.of(1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1))).toEqual(
      [
        [0, 2],
        [2, 4],
        [4, 6],
      ],
    );
  });

  it('uses the tokens of the reply as candidates, but never the target', () => {
    const targets = Int32Array.of(5, 6, 5, 7, 5, 6);
    expect(candidatesOf(targets, [[0, 6]], { ngram: 1, window: 64 })).toEqual([[], [5], [6], [5, 6], [6, 7], [5, 7]]);
    expect(
      candidatesOf(
        targets,
        [
          [0, 3],
          [3, 6],
        ],
        { ngram: 1, window: 1 },
      ),
    ).toEqual([[], [5], [6], [], [7], [5]]);
    // 5 was followed by 6 and 7. Either would repeat a bigram, unless it is the target.
    expect(candidatesOf(targets, [[0, 6]], { ngram: 2, window: 64 })).toEqual([[], [], [], [6], [], [7]]);
  });

  it('unlikelihood is −log(1 − p) of each candidate', () => {
    // Equal logits of four tokens: p = 1/4 each, with two candidates.
    const logits = tensor2d([[0, 0, 0, 0]]);
    expect(numberOf(() => unlikelihood(logits, [[1, 3]]))).toBeCloseTo(-2 * Math.log(3 / 4), 6);
    expect(numberOf(() => unlikelihood(logits, [[]]))).toBeCloseTo(0, 9);
    expect(numberOf(() => concentration(logits, [[0, 1]]))).toBeCloseTo(1 / 4, 6);
    logits.dispose();
  });

  it('has the correct gradients', () => {
    const logits = tensor2d([
      [0.3, -0.5, 1.2, 0.1],
      [2, 0.4, -1, 0.3],
      [0.2, 0.2, -0.7, 1.5],
    ]);
    expectGradient((values) => unlikelihood(values, [[], [0, 3], [1]]), logits);
    expectGradient(
      (values) =>
        concentration(values, [
          [0, 2],
          [2, 3],
        ]),
      logits,
    );
    logits.dispose();
  });

  it('makes repetition less likely after gradient descent', () => {
    let logits = tensor2d([
      [0, 0, 0],
      [3, 0, 0],
    ]) as Tensor2D;
    const candidates = [[], [0]];
    for (let step = 0; step < 20; step++) {
      const { value, grads } = engine().gradients(() => unlikelihood(logits, candidates), [logits]);
      const next = tidy(() => add(logits, mul(grads[0] as Tensor2D, -1)) as Tensor2D);
      for (const tensor of [value, ...grads, logits]) tensor.dispose();
      logits = next;
    }
    const [, , , repeated = 9, other = 0] = clone(logits).dataSync();
    expect(repeated).toBeLessThan(other);
    logits.dispose();
  });
});
