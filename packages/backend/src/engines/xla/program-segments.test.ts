import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { Kernel } from '../../kernels/kernel.js';
import type { Program, Step } from '../../recorder/program.js';
import { random, startXlaBackend, xlaPlugin } from '../../test-support.js';
import type { XlaEngine } from './engine.js';
import { splitIntoSegments } from './program-segments.js';

const kernel = (name: string): Kernel => ({
  name,
  inputs: ['x'],
  rule: () => ({ outputs: [] }),
  tensorflow: (emit, [x]) => emit.op('Neg', [x as never]),
});
const kernels = Array.from({ length: 30 }, (_, index) => kernel(`K${index}`));

/**
 * Returns a chain of 30 steps per layer, with a step before and a step after the layers. The first step of a layer also
 * uses the layer's weight; the last step of the program also uses the result of the first.
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

test('repeated layers are equal segments, and the steps before and after them are separate segments', () => {
  const segments = splitIntoSegments(layered(5), () => 0) ?? [];
  expect(segments.map(({ program }) => program.steps.length)).toEqual([1, 30, 30, 30, 30, 30, 1]);
  expect(segments.map(({ firstStep }) => firstStep)).toEqual([0, 1, 31, 61, 91, 121, 151]);
  const [before, first, second, , , last, after] = segments;
  expect(second?.program).toEqual(first?.program);
  expect(last?.program).toEqual(first?.program);
  // Inputs of the program are 0 to 5; the step at position p computes 6 + p.
  expect([before?.inputs, before?.outputs]).toEqual([[0], [6]]);
  expect([first?.inputs, first?.outputs]).toEqual([[6, 1], [36]]);
  expect([second?.inputs, second?.outputs]).toEqual([[36, 2], [66]]);
  expect([after?.inputs, after?.outputs]).toEqual([[156, 6], [157]]);
  // The last step also uses the first step's result. Weights and the results of layers are used once.
  expect([...(first?.lastUses ?? [])]).toEqual([1]);
  expect([...(second?.lastUses ?? [])]).toEqual([0, 1]);
});

test('steps with side effects repeat, too, because segments run in order', () => {
  const program = layered(5);
  const withEffects = new Map(kernels.map((own): [Kernel, Kernel] => [own, { ...own, hasSideEffects: true }]));
  const steps = program.steps.map((step) => ({ ...step, kernel: withEffects.get(step.kernel) ?? step.kernel }));
  expect(splitIntoSegments({ ...program, steps }, () => 0)?.length).toBe(7);
});

test('many layers are grouped; layers with inputs of different shapes, or too few layers, do not repeat', () => {
  expect(splitIntoSegments(layered(20), () => 0)?.map(({ program }) => program.steps.length)).toEqual([
    1, 90, 90, 90, 90, 90, 90, 61,
  ]);
  expect(splitIntoSegments(layered(5), (input) => input)).toBeNull();
  expect(splitIntoSegments(layered(2), () => 0)).toBeNull();
});

describe.skipIf(xlaPlugin === null)('a program in segments', () => {
  test('computes correct results, compiles equal layers once, and reuses the memory of disposed tensors', async () => {
    const backend = await startXlaBackend({ moduleFolder: null });
    const { moduleCounters } = backend.engine as XlaEngine;
    const [layers, rounds, size] = [6, 10, 5000];
    const weights = Array.from({ length: layers }, (_, layer) => random([size], layer + 2));
    const numbers = weights.map((weight) => weight.dataSync() as Float32Array);
    // 30 operations per layer: x ← |x ± w| · ½, ten times. The signs do not repeat within the layer.
    const plus = new Set([0, 1, 3, 6]);
    const layer = (x: tf.Tensor, weight: tf.Tensor): tf.Tensor => {
      for (let round = 0; round < rounds; round++)
        x = tf.mul(tf.abs((plus.has(round) ? tf.add : tf.sub)(x, weight)), 0.5);
      return x;
    };
    const expected = (x: number, index: number, upTo = layers): number => {
      for (const weight of numbers.slice(0, upTo))
        for (let round = 0; round < rounds; round++)
          x = Math.fround(Math.abs(Math.fround(x + (plus.has(round) ? 1 : -1) * (weight[index] ?? 0))) * 0.5);
      return x;
    };
    let x: tf.Tensor = random([size], 1);
    const reference = Float32Array.from(x.dataSync());
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
      expect(middle[0]?.dataSync()[7]).toBe(expected(reference[7] ?? 0, 7, 4));
      tf.dispose(middle);
      reference.forEach((value, index) => (reference[index] = expected(value, index)));
      expect(x.dataSync()).toEqual(reference);
      expect(backend.counters().deviceBytes).toBe(bytes);
    }
    // Four modules instead of six: the first layer, the middle layers, the layer that is read and the one after it.
    expect(moduleCounters.compiled - compiled).toBe(4);
    tf.dispose([x, ...weights]);
  });
});
