import '@tensorflow/tfjs-backend-cpu';
import { memory, ready, setBackend, tensor, tidy, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Callback, Control, HookSignatures } from '@whetstone/core/contract';
import { createGradientClipping } from './gradient-clipping.js';
import type { GradientClippingOptions } from './options.js';
import { gradientClipping } from './plugin.js';

type TransformGradients = HookSignatures['transformGradients'];
const handlerOf = (callback: Callback): TransformGradients =>
  (callback.transformGradients as { readonly handler: TransformGradients }).handler;

interface Outcome {
  readonly gradients: Record<string, number[]>;
  readonly metrics: Record<string, number>;
  readonly skipped: string[];
}

function clip(
  callback: Callback,
  gradients: Record<string, number[] | number[][]>,
  parameters: Record<string, number[] | number[][]> = {},
): Outcome {
  const metrics: Record<string, number> = {};
  const skipped: string[] = [];
  const control: Control = {
    stop() {},
    evaluate() {},
    save() {},
    skipUpdate: (reason) => void skipped.push(reason),
    setLearningRate: () => undefined,
    rollback: () => undefined,
    markBest() {},
  };
  const asTensors = (values: Record<string, number[] | number[][]>): Map<string, Tensor> =>
    new Map(Object.entries(values).map(([name, value]) => [name, tensor(value)]));
  const result: Record<string, number[]> = {};
  tidy(() => {
    const record = (name: string, value: number | Scalar): void => {
      metrics[name] = typeof value === 'number' ? value : (value.dataSync()[0] ?? Number.NaN);
    };
    const changed = handlerOf(callback)(
      asTensors(gradients),
      { step: 0, record, parameters: asTensors(parameters) },
      control,
    );
    for (const [name, gradient] of changed) result[name] = [...gradient.dataSync()];
  });
  return { gradients: result, metrics, skipped };
}

const once = (
  options: Partial<GradientClippingOptions>,
  gradients: Record<string, number[] | number[][]>,
  parameters: Record<string, number[] | number[][]> = {},
): Outcome => {
  const callback = createGradientClipping(options);
  const outcome = clip(callback, gradients, parameters);
  callback.dispose?.();
  return outcome;
};

describe('gradient-clipping', () => {
  beforeAll(async () => {
    await setBackend('cpu');
    await ready();
  });

  it('clips by global norm: min(1, max / (norm + 1e-6))', () => {
    // ‖(3, 0, 4)‖ = 5, so all elements are divided by 5.
    const { gradients, metrics } = once({ maxNorm: 1 }, { a: [3, 0], b: [4] });
    expect(gradients['a']?.[0]).toBeCloseTo(0.6, 6);
    expect(gradients['b']?.[0]).toBeCloseTo(0.8, 6);
    expect(metrics['gradNorm']).toBeCloseTo(5, 6);
    expect(metrics['gradNormClipped']).toBeCloseTo(1, 5);
    expect(metrics['clippedShare']).toBe(1);
    expect(once({ maxNorm: 10 }, { a: [3, 0], b: [4] }).gradients).toEqual({ a: [3, 0], b: [4] });
  });
  it('clips each parameter separately', () => {
    const { gradients } = once({ mode: 'parameter-norm', maxNorm: 1 }, { a: [3, 4], b: [0.5] });
    expect(gradients['a']?.map((value) => Number(value.toFixed(5)))).toEqual([0.6, 0.8]);
    expect(gradients['b']).toEqual([0.5]);
  });
  it('clips elements', () => {
    expect(once({ mode: 'value', maxValue: 0.5 }, { a: [3, -4, 0.25] }).gradients['a']).toEqual([0.5, -0.5, 0.25]);
  });
  it('clips units relative to the norm of their weights (AGC)', () => {
    // First row: gradient norm 5, weight norm 10, limit 0.1 · 10 = 1. Second row: 0.05 is below its limit 0.1.
    const { gradients } = once(
      { mode: 'adaptive', adaptiveFactor: 0.1 },
      {
        w: [
          [3, 4],
          [0.03, 0.04],
        ],
      },
      {
        w: [
          [6, 8],
          [1, 0],
        ],
      },
    );
    expect(gradients['w']?.map((value) => Number(value.toFixed(4)))).toEqual([0.6, 0.8, 0.03, 0.04]);
  });
  it('reports the share of clipped steps, also after resume, and leaks no tensor', async () => {
    const tensors = memory().numTensors;
    const first = createGradientClipping({ maxNorm: 1 });
    clip(first, { a: [3] });
    clip(first, { a: [0.5] });
    const flat = memory().numTensors;
    expect(clip(first, { a: [0.5] }).metrics['clippedShare']).toBeCloseTo(1 / 3, 6);
    expect(memory().numTensors).toBe(flat);
    const second = createGradientClipping({ maxNorm: 1 });
    second.loadState?.(JSON.parse(JSON.stringify(await first.saveState?.())));
    expect(clip(second, { a: [2] }).metrics['clippedShare']).toBeCloseTo(0.5, 6);
    first.dispose?.();
    second.dispose?.();
    expect(memory().numTensors).toBe(tensors);
  });
  it('skips the step or stops if gradients are not finite, as configured', () => {
    expect(once({ nonFinite: 'skip' }, { a: [Number.NaN] }).skipped).toHaveLength(1);
    expect(() => once({ nonFinite: 'stop' }, { a: [Number.POSITIVE_INFINITY] })).toThrow(/norm of step 1/);
    expect(once({}, { a: [Number.NaN] }).skipped).toHaveLength(0);
  });
  it.each([
    ['pass', []],
    ['skip', [expect.stringMatching(/nan-guard with "action": "skip"/)]],
    ['stop', [expect.stringMatching(/Remove it/)]],
  ])('warns once that nan-guard replaces nonFinite: %s', async (nonFinite, expected) => {
    const warnings: string[] = [];
    const silent = (): void => {};
    const logger = {
      debug: silent,
      info: silent,
      error: silent,
      warn: (message: string) => void warnings.push(message),
    };
    const callback = await gradientClipping.create({ nonFinite } as never, {
      logger,
      seed: 1,
      baseFolder: '/',
      outputFolder: null,
    });
    clip(callback, { a: [3] });
    clip(callback, { a: [3] });
    callback.dispose?.();
    expect(warnings).toEqual(expected);
  });
});
