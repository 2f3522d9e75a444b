import '@whetstone/core/tfjs-gradients';
import { add, engine, tidy, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import type { StepContext, StrategyRun } from '@whetstone/core/contract';
import { ewcStrategy } from '../../packages/strategies/src/ewc/ewc.js';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import { batchSourceOf, randomRows } from '@whetstone/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../support/backend.js';
import { tinyModel } from '../support/training.js';

const run: StrategyRun = { seed: 1, totalSteps: 4, modelFolder: null };
const oldTask = batchSourceOf(randomRows(4, 48, 9), 1);
const at = (step: number): StepContext => ({ step, record: () => {} });
const choice = { trainLastLayers: 2, head: true } as const;

describe('ewc with gradual unfreezing', () => {
  beforeAll(() => useBackend('cpu'));

  it('includes layers that are unfrozen later, with their values at the start as anchor', async () => {
    const model = tinyModel(4);
    const complete = await frozenLayersStrategy(choice).attach(model, run);
    const expected = await ewcStrategy({ lambda: 10, batches: oldTask }).attach(model, { ...run, owner: complete });
    const reference = new Map(
      [...expected.saveState().tensors].map(([name, tensor]) => [name, Float32Array.from(tensor.dataSync())]),
    );
    expected.dispose();
    complete.dispose();

    const owner = await frozenLayersStrategy({ ...choice, unfreezeEverySteps: 2 }).attach(model, run);
    const first = [...owner.trainable.keys()];
    const lambda = 10;
    const ewc = await ewcStrategy({ lambda, batches: oldTask }).attach(model, { ...run, owner });
    expect([...owner.trainable.keys()], 'the estimate does not change the trained parameters').toEqual(first);
    const { tensors } = ewc.saveState();
    expect([...tensors.keys()].sort()).toEqual([...reference.keys()].sort());
    for (const [name, tensor] of tensors)
      expect(Array.from(tensor.dataSync()), name).toEqual([...(reference.get(name) ?? [])]);

    // After two steps the lower layer is trained. If it moves by d, the gradient of the penalty is λ F d.
    const name = 'model.layers.0.mlp.up_proj.weight';
    expect(owner.trainable.has(name)).toBe(false);
    owner.beforeStep?.(at(2));
    const parameter = owner.trainable.get(name);
    if (parameter === undefined) throw new Error('The layer was not unfrozen.');
    const moved = tidy(() => add(parameter, 0.5));
    parameter.assign(moved);
    moved.dispose();
    const { value, grads } = engine().gradients(() => ewc.penalty?.(at(2)) as Scalar, [parameter]);
    const fisher = reference.get(`fisher.${name}`) ?? new Float32Array();
    expect(Math.max(...fisher)).toBeGreaterThan(0);
    const gradient = (grads[0] as Tensor).dataSync();
    for (const [index, importance] of fisher.entries())
      expect(gradient[index]).toBeCloseTo(lambda * importance * 0.5, 5);
    for (const tensor of [value, ...grads]) tensor.dispose();
    ewc.dispose();
    owner.dispose();
    model.dispose();
  });
});
