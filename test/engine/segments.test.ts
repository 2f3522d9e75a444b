import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { resolveBackend } from '@whetstone/backend';
import { findXlaPlugin } from '@whetstone/backend/install';
import type { WhetstoneBackend } from '@whetstone/backend/internal';
import { singleProcess } from '@whetstone/core/distributed';
import { trainStep } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import { createRandomModel } from '@whetstone/models';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { batchOf } from '@whetstone/testing';
import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../support/training.js';

const plugin = await findXlaPlugin();
const missing = 'reasons' in plugin;
if (missing)
  console.warn(
    'SKIPPED: steps in segments are tested on an XLA plugin. Fetch it with: npx whetstone backend install ' +
      `xla-cpu (${plugin.reasons.join(', ')})`,
  );

const layers = 10;
const rows = [11, 16, 9].map((length, row) => ({
  ids: Array.from({ length }, (_, column) => (row * 37 + column * 11) % tinyLlama.vocab_size),
  supervised: Array.from({ length }, (_, column) => column % 5 !== row),
}));

interface Trained {
  readonly losses: readonly number[];
  readonly weights: ReadonlyMap<string, Float32Array>;
  /** Graphs that a step after the first submits. */
  readonly graphs: number;
  /** Bytes on the device between two steps. */
  readonly deviceBytes: number;
}

/** Trains three steps on a model with many equal layers. */
async function train(inSegments: boolean): Promise<Trained> {
  const { barrier } = await resolveBackend({ name: 'whetstone', engine: 'xla', threads: null });
  const backend = tf.backend() as WhetstoneBackend;
  Object.assign(backend.engine, { runsInSegments: inSegments });
  const model = createRandomModel({ ...tinyLlama, num_hidden_layers: layers }, 0);
  const owner = await loraStrategy({ rank: 2, alpha: 4 }).attach(model, {
    seed: 1,
    totalSteps: 3,
    modelFolder: null,
  });
  const optimizer = createAdamW({ weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const losses: number[] = [];
  let graphs = 0;
  let deviceBytes = 0;
  for (let step = 0; step < 3; step++) {
    const before = backend.counters();
    losses.push(
      (
        await trainStep(
          {
            model,
            owner,
            companions: [],
            sync: singleProcess,
            hooks: createHookRunner([]),
            optimizer,
            backend: { barrier },
          },
          [batchOf(rows)],
          step,
          1e-2,
        )
      ).loss,
    );
    await backend.settle();
    graphs = backend.counters().graphs - before.graphs;
    ({ deviceBytes } = backend.counters());
  }
  const weights = new Map(
    [...owner.trainable].map(([name, variable]) => [name, variable.dataSync().slice() as Float32Array]),
  );
  for (const item of [owner, optimizer, model]) item.dispose();
  return { losses, weights, graphs, deviceBytes };
}

describe.skipIf(missing)('a step that is submitted in segments while it is recorded', () => {
  it('has the same losses and weights as in one graph, and keeps no extra memory', { timeout: 240_000 }, async () => {
    const single = await train(false);
    const { numTensors } = tf.memory();
    const segmented = await train(true);
    expect(tf.memory().numTensors).toBe(numTensors);
    // The forward and the backward pass have at least two segments each.
    expect(segmented.graphs).toBeGreaterThanOrEqual(single.graphs + 3);
    expect(segmented.deviceBytes).toBe(single.deviceBytes);
    segmented.losses.forEach((loss, step) => expect(loss).toBeCloseTo(single.losses[step] ?? NaN, 4));
    expect(segmented.losses[2]).not.toBeCloseTo(segmented.losses[0] ?? NaN, 3);
    // AdamW turns the rounding error of a zero gradient into a step of the learning rate. So a few weights may differ
    // by that much, but not their mean.
    for (const [name, values] of single.weights) {
      const others = segmented.weights.get(name) ?? new Float32Array(0);
      expect(
        values.reduce((sum, value, index) => sum + Math.abs(value - (others[index] ?? NaN)), 0) / values.length,
        name,
      ).toBeLessThan(1e-4);
    }
  });
});
