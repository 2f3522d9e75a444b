import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { Kernel } from '../../kernels/kernel.js';
import type { Program, Step } from '../../recorder/program.js';
import { random, startXlaBackend, xlaPlugin } from '../../test-support.js';
import type { XlaEngine } from './engine.js';
import { partsOf } from './parts.js';

const kernel = (name: string): Kernel => ({
  name,
  inputs: ['x'],
  rule: () => ({ outputs: [] }),
  tensorflow: (emit, [x]) => emit.op('Neg', [x as never]),
});
const kernels = Array.from({ length: 30 }, (_, place) => kernel(`K${place}`));

/**
 * `layers` times 30 steps in a row, one more before and one behind; the first step of each layer also takes the layer's
 * weight, the last step of the whole what the first one made.
 */
function layered(layers: number): Program {
  const count = 30 * layers + 2;
  const first = layers + 1;
  const steps = Array.from({ length: count }, (_, position): Step => {
    const before = position === 0 ? 0 : first + position - 1;
    const inner = position - 1;
    const isEdge = position === 0 || position === count - 1;
    const inputs =
      position === count - 1 ? [before, first] : inner % 30 === 0 && !isEdge ? [before, 1 + inner / 30] : [before];
    return {
      kernel: isEdge ? kernel('Edge') : (kernels[inner % 30] as Kernel),
      parameters: [],
      inputs,
      tensorInputs: inputs.length,
      firstOutput: first + position,
      outputs: 1,
    };
  });
  const types = Array.from({ length: first + count }, () => 'float32' as const);
  return {
    name: 'layers',
    matmul: 'float32',
    inputTypes: types.slice(0, first),
    steps,
    types,
    outputs: [first + count - 1],
  };
}

test('layers that repeat are parts that are spelled alike, and what stands before and behind them is in others', () => {
  const parts = partsOf(layered(5), () => 0) ?? [];
  expect(parts.map(({ program }) => program.steps.length)).toEqual([1, 30, 30, 30, 30, 30, 1]);
  expect(parts.map(({ firstStep }) => firstStep)).toEqual([0, 1, 31, 61, 91, 121, 151]);
  const [before, first, second, , , last, behind] = parts;
  expect(second?.program).toEqual(first?.program);
  expect(last?.program).toEqual(first?.program);
  // Inputs of the whole are 0 to 5; the step at position p makes 6 + p.
  expect([before?.inputs, before?.outputs]).toEqual([[0], [6]]);
  expect([first?.inputs, first?.outputs]).toEqual([[6, 1], [36]]);
  expect([second?.inputs, second?.outputs]).toEqual([[36, 2], [66]]);
  expect([behind?.inputs, behind?.outputs]).toEqual([[156, 6], [157]]);
  // What the step before the layers made is asked for by the last step, too; weights and what a layer hands on are not
  // asked for again.
  expect([...(first?.last ?? [])]).toEqual([1]);
  expect([...(second?.last ?? [])]).toEqual([0, 1]);
});

test('updates that write in place repeat, too: parts are run in order', () => {
  const program = layered(5);
  const writing = new Map(kernels.map((own): [Kernel, Kernel] => [own, { ...own, hasSideEffects: true }]));
  const steps = program.steps.map((step) => ({ ...step, kernel: writing.get(step.kernel) ?? step.kernel }));
  expect(partsOf({ ...program, steps }, () => 0)?.length).toBe(7);
});

test('many layers are taken several at a time, and layers on inputs of other shapes are others', () => {
  expect(partsOf(layered(20), () => 0)?.map(({ program }) => program.steps.length)).toEqual([
    1, 90, 90, 90, 90, 90, 90, 61,
  ]);
  expect(partsOf(layered(5), (input) => input)).toBeNull();
  expect(partsOf(layered(2), () => 0)).toBeNull();
});

describe.skipIf(xlaPlugin === null)('a program in parts', () => {
  test('computes what it is to, compiles each layer once, and takes the memory of what is disposed', async () => {
    const backend = await startXlaBackend({ moduleFolder: null });
    const { moduleCounters } = backend.engine as XlaEngine;
    const [layers, rounds, size] = [6, 10, 5000];
    const weights = Array.from({ length: layers }, (_, layer) => random([size], layer + 2));
    const numbers = weights.map((weight) => weight.dataSync() as Float32Array);
    // 30 operations a layer: x ← |x ± w| · ½, ten times, with a plus in rounds that do not repeat within the layer.
    const plus = new Set([0, 1, 3, 6]);
    const layer = (x: tf.Tensor, weight: tf.Tensor): tf.Tensor => {
      for (let round = 0; round < rounds; round++)
        x = tf.mul(tf.abs((plus.has(round) ? tf.add : tf.sub)(x, weight)), 0.5);
      return x;
    };
    const expected = (x: number, place: number, behind = layers): number => {
      for (const weight of numbers.slice(0, behind))
        for (let round = 0; round < rounds; round++)
          x = Math.fround(Math.abs(Math.fround(x + (plus.has(round) ? 1 : -1) * (weight[place] ?? 0))) * 0.5);
      return x;
    };
    let x: tf.Tensor = random([size], 1);
    const wanted = Float32Array.from(x.dataSync());
    backend.barrier();
    const [compiled, bytes] = [moduleCounters.compiled, backend.counters().deviceBytes];
    for (let run = 0; run < 3; run++) {
      const middle: tf.Tensor[] = [];
      const next = tf.tidy(() => {
        let value = x;
        weights.forEach((weight, number) => {
          value = layer(value, weight);
          if (number === 3) middle.push(tf.keep(value));
        });
        return value;
      });
      x.dispose();
      x = next;
      await backend.settle();
      expect(middle[0]?.dataSync()[7]).toBe(expected(wanted[7] ?? 0, 7, 4));
      tf.dispose(middle);
      wanted.forEach((value, place) => (wanted[place] = expected(value, place)));
      expect(x.dataSync()).toEqual(wanted);
      expect(backend.counters().deviceBytes).toBe(bytes);
    }
    // The first layer, those in the middle, the one that is read and the one behind it: not six a run.
    expect(moduleCounters.compiled - compiled).toBe(4);
    tf.dispose([x, ...weights]);
  });
});
