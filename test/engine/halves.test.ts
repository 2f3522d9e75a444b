import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { resolveBackend } from '@whetstone/backend';
import { findTensorflow } from '@whetstone/backend/install';
import { singleProcess } from '@whetstone/core/distributed';
import { trainStep } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import type { Callback } from '@whetstone/core/contract';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { batchOf } from '@whetstone/testing';
import { createRandomModel } from '@whetstone/models';
import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../support/training.js';

const found = await findTensorflow();
const missing = 'reasons' in found;
if (missing)
  console.warn(
    'SKIPPED: computing the halves of a step in parallel needs libtensorflow. Fetch it with: npx whetstone ' +
      'backend install cpu',
  );

const rows = [300, 280, 260, 250, 170].map((length, row) => ({
  ids: Array.from({ length }, (_, column) => (row * 37 + column * 11) % tinyLlama.vocab_size),
  supervised: Array.from({ length }, (_, column) => column % 5 !== row),
}));

/** Trains three steps of one microbatch, and counts the steps that were recorded in halves. */
async function train(
  mode: 'lora' | 'full',
  inHalves: boolean,
  callbacks: readonly Callback[] = [],
  learningRate = 1e-2,
): Promise<{
  readonly losses: readonly number[];
  readonly updated: readonly boolean[];
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly halved: number;
}> {
  const { barrier, sideBySide } = await resolveBackend({ name: 'whetstone', engine: 'tensorflow', threads: null });
  const model = createRandomModel({ ...tinyLlama, max_position_embeddings: 512 }, 0);
  const strategy = mode === 'full' ? fullStrategy() : loraStrategy({ rank: 2, alpha: 4 });
  const owner = await strategy.attach(model, { seed: 1, totalSteps: 3, modelFolder: null });
  const optimizer = createAdamW({ weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const hooks = createHookRunner(callbacks.map((callback) => ({ plugin: 'test', callback })));
  let halved = 0;
  const counted = <T>(record: () => T): T => {
    halved++;
    return (sideBySide ?? ((own) => own()))(record);
  };
  const backend = { barrier, ...(inHalves ? { sideBySide: counted } : {}) };
  const parts = { model, owner, companions: [], sync: singleProcess, hooks, optimizer, backend };
  const losses: number[] = [];
  const updated: boolean[] = [];
  for (let step = 0; step < 3; step++) {
    const outcome = await trainStep(parts, [batchOf(rows)], step, learningRate);
    losses.push(outcome.loss);
    updated.push(outcome.updated);
  }
  const parameters = new Map(
    [...owner.trainable].map(([name, variable]) => [name, variable.dataSync().slice() as Float32Array]),
  );
  for (const item of [owner, optimizer, model]) item.dispose();
  return { losses, updated, parameters, halved };
}

describe.skipIf(missing)('a step computed as two parallel halves', () => {
  it.each(['lora', 'full'] as const)(
    'has the same losses and weights as one without halves, %s',
    { timeout: 120_000 },
    async (mode) => {
      const single = await train(mode, false);
      const { numTensors } = tf.memory();
      const halves = await train(mode, true);
      expect(tf.memory().numTensors).toBe(numTensors);
      expect([single.halved, halves.halved]).toEqual([0, 3]);
      halves.losses.forEach((loss, step) => expect(loss).toBeCloseTo(single.losses[step] ?? NaN, 4));
      expect(halves.losses[2]).not.toBeCloseTo(halves.losses[0] ?? NaN, 3);
      // AdamW turns the rounding error of a zero gradient into a step of the learning rate. So a few weights may differ
      // by that much, but not their mean.
      for (const [name, values] of single.parameters) {
        const others = halves.parameters.get(name) ?? new Float32Array(0);
        expect(others).toHaveLength(values.length);
        const apart =
          values.reduce((sum, value, index) => sum + Math.abs(value - (others[index] ?? NaN)), 0) / values.length;
        expect(apart, name).toBeLessThan(1e-4);
      }
      // A second run must give the same bits.
      expect(await train(mode, true)).toEqual(halves);
    },
  );

  it('is skipped completely if it is not finite', { timeout: 120_000 }, async () => {
    // The first update exceeds the range of float32, so that both later steps compute NaN.
    const { losses, updated, halved } = await train('lora', true, [{ nonFinite: 'skip' }], 1e38);
    expect(losses).toEqual([expect.closeTo(Math.log(tinyLlama.vocab_size), 0), NaN, NaN]);
    expect(updated).toEqual([true, false, false]);
    expect(halved).toBe(3);
  });

  it('is not used if a hook reads the logits of a microbatch', { timeout: 120_000 }, async () => {
    const seen: number[] = [];
    const callback: Callback = {
      transformLogits: (logits, { batch }) => {
        seen.push(batch.rows);
        return logits;
      },
    };
    expect((await train('lora', true, [callback])).halved).toBe(0);
    expect(seen).toEqual([5, 5, 5]);
  });
});
