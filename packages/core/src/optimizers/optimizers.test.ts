import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Optimizer, OptimizerStep } from '../contract/index.js';
import { ADAMW_KERNEL } from '../ops/optimizer.js';
import { createAdamW } from './adamw.js';
import { weightDecayApplies } from './decays.js';
import { createSgd } from './sgd.js';

beforeAll(() => tf.setBackend('cpu'));

const stepOf = (update: number, changes: Partial<OptimizerStep> = {}): OptimizerStep => ({
  update,
  learningRate: 0.1,
  learningRateScale: () => 1,
  decays: () => true,
  ...changes,
});

/** Returns a variable with the single element 1. */
function one(): tf.Variable {
  const initial = tf.tensor1d([1]);
  const variable = tf.variable(initial);
  initial.dispose();
  return variable;
}

/** Applies a gradient to the parameter `weight` and returns its new value. */
function apply(optimizer: Optimizer, variable: tf.Variable, gradient: number, step: OptimizerStep): number {
  const tensor = tf.tensor1d([gradient]);
  optimizer.apply(new Map([['weight', variable]]), new Map([['weight', tensor]]), step);
  tensor.dispose();
  return variable.dataSync()[0] ?? NaN;
}

const options = { weightDecay: 0.5, adamBeta1: 0.9, adamBeta2: 0.99, adamEpsilon: 1e-8 };

describe('adamw', () => {
  afterEach(() => {
    if (tf.getKernel(ADAMW_KERNEL, 'cpu') !== undefined) tf.unregisterKernel(ADAMW_KERNEL, 'cpu');
  });

  it('computes the updates that are derived by hand', () => {
    const optimizer = createAdamW(options);
    const variable = one();
    // Step 1: m̂ = g, v̂ = g², so that the update is −rate · sign(g): 1 · (1 − 0.1 · 0.5) − 0.1.
    expect(apply(optimizer, variable, 2, stepOf(1))).toBeCloseTo(0.85, 6);
    // Step 2, g = −1: m = 0.9 · 0.2 − 0.1 = 0.08, m̂ = 0.08 / 0.19; v = 0.99 · 0.04 + 0.01 = 0.0496, v̂ = 0.0496 /
    // 0.0199.
    const expected = 0.85 * 0.95 - (0.1 * (0.08 / 0.19)) / Math.sqrt(0.0496 / 0.0199);
    expect(apply(optimizer, variable, -1, stepOf(2))).toBeCloseTo(expected, 6);
    optimizer.dispose();
    variable.dispose();
  });

  it('applies the learning-rate factor of a parameter, and no decay if excluded', () => {
    const optimizer = createAdamW(options);
    const variable = one();
    expect(apply(optimizer, variable, 2, stepOf(1, { learningRateScale: () => 3, decays: () => false }))).toBeCloseTo(
      0.7,
      6,
    );
    optimizer.dispose();
    variable.dispose();
  });

  it('uses the fused kernel of a backend', () => {
    tf.registerKernel({
      kernelName: ADAMW_KERNEL,
      backendName: 'cpu',
      kernelFunc: ({ inputs, attrs }) => {
        expect(Object.keys(inputs).toSorted()).toEqual([
          'correction',
          'decay',
          'firstMoment',
          'gradient',
          'parameter',
          'secondMoment',
          'stepSize',
        ]);
        expect(attrs).toEqual({ beta1: 0.9, beta2: 0.99, epsilon: 1e-8 });
        return [tf.tensor1d([7]), tf.tensor1d([8]), tf.tensor1d([9])];
      },
    });
    const optimizer = createAdamW(options);
    const variable = one();
    expect(apply(optimizer, variable, 2, stepOf(1))).toBe(7);
    expect(optimizer.saveState().tensors.get('weight.secondMoment')?.dataSync()[0]).toBe(9);
    optimizer.dispose();
    variable.dispose();
  });

  it('keys its state by name: a parameter added later starts with new moments', () => {
    const optimizer = createAdamW({ ...options, weightDecay: 0 });
    const [early, late] = [one(), one()];
    const gradient = tf.tensor1d([2]);
    optimizer.apply(new Map([['early', early]]), new Map([['early', gradient]]), stepOf(1));
    optimizer.apply(
      new Map([
        ['late', late],
        ['early', early],
      ]),
      new Map([
        ['late', gradient],
        ['early', gradient],
      ]),
      stepOf(2),
    );
    // The first update of the late parameter is a full step, with bias correction for its own count.
    expect(late.dataSync()[0]).toBeCloseTo(0.9, 6);
    tf.dispose([early, late, gradient]);
    optimizer.dispose();
  });

  it('creates moments in advance, once, and saves only those of updated parameters', () => {
    const [prepared, plain] = [createAdamW(options), createAdamW(options)];
    const [first, second, idle] = [one(), one(), one()];
    const parameters = new Map([
      ['weight', first],
      ['idle', idle],
    ]);
    const before = tf.memory().numTensors;
    expect(prepared.prepare?.(parameters)).toBe(true);
    expect(tf.memory().numTensors).toBe(before + 4);
    expect(prepared.prepare?.(parameters)).toBe(false);
    expect(prepared.saveState().tensors.size).toBe(0);
    expect(apply(prepared, first, 2, stepOf(1))).toBe(apply(plain, second, 2, stepOf(1)));
    expect([...prepared.saveState().tensors.keys()]).toEqual(['weight.firstMoment', 'weight.secondMoment']);
    tf.dispose([first, second, idle]);
    prepared.dispose();
    plain.dispose();
  });

  it('rejects a state without moments', () => {
    const load = (values: object): void =>
      createAdamW(options).loadState({ tensors: new Map(), values: values as never });
    expect(() => load({ updates: { weight: 1 } })).toThrow(
      expect.objectContaining({ code: 'CHECKPOINT_INVALID' }) as Error,
    );
    expect(() => load({})).toThrow(expect.objectContaining({ code: 'CHECKPOINT_INVALID' }) as Error);
  });
});

describe('sgd', () => {
  it('computes the updates with momentum and decay that are derived by hand', () => {
    const optimizer = createSgd({ momentum: 0.5, weightDecay: 1 });
    const variable = one();
    expect(apply(optimizer, variable, 2, stepOf(1))).toBeCloseTo(1 * 0.9 - 0.2, 6);
    // b = 0.5 · 2 + 1.
    expect(apply(optimizer, variable, 1, stepOf(2))).toBeCloseTo(0.7 * 0.9 - 0.2, 6);
    optimizer.dispose();
    variable.dispose();
  });
});

it.each([
  ['adamw', () => createAdamW(options)],
  ['sgd with momentum', () => createSgd({ momentum: 0.9, weightDecay: 0 })],
  ['sgd', () => createSgd({ momentum: 0, weightDecay: 0.1 })],
])('%s continues exactly from its saved state and leaks no tensor', (_, create) => {
  const before = tf.memory().numTensors;
  const run = (interrupted: boolean): number => {
    const variable = one();
    let optimizer = create();
    for (let update = 1; update <= 6; update++) {
      apply(optimizer, variable, Math.sin(update), stepOf(update));
      if (!interrupted || update !== 3) continue;
      const next = create();
      next.loadState(optimizer.saveState());
      optimizer.dispose();
      optimizer = next;
    }
    const value = variable.dataSync()[0] ?? NaN;
    optimizer.dispose();
    variable.dispose();
    return value;
  };
  expect(run(true)).toBe(run(false));
  expect(tf.memory().numTensors).toBe(before);
});

it('weight decay is not applied to biases and norms', () => {
  const decays = [
    'model.embed_tokens.weight',
    'lm_head.weight',
    'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight',
    'transformer.h.0.attn.c_attn.weight',
    'prompt_embeddings',
  ];
  const excluded = [
    'model.norm.weight',
    'model.layers.0.input_layernorm.weight',
    'model.layers.0.self_attn.q_norm.weight',
    'model.layers.0.self_attn.q_proj.bias',
    'transformer.h.0.ln_1.weight',
    'transformer.ln_f.weight',
  ];
  expect(decays.filter((name) => !weightDecayApplies(name))).toEqual([]);
  expect(excluded.filter((name) => weightDecayApplies(name))).toEqual([]);
});
