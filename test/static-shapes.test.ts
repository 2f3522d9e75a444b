import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { resolveBackend } from '@whetstone/backend';
import { findXlaPlugin } from '@whetstone/backend/install';
import type { WhetstoneBackend } from '@whetstone/backend/internal';
import { singleProcess } from '@whetstone/core/distributed';
import { trainStep, type StepServices } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import { generateIds } from '@whetstone/models';
import { fullStrategy } from '../packages/strategies/src/full/full.js';
import { batchOf } from '@whetstone/testing';
import { describe, expect, it } from 'vitest';
import { tinyLlama, tinyModel } from './support/training.js';

const plugin = await findXlaPlugin();
const missing = 'reasons' in plugin;
if (missing)
  console.warn(
    'SKIPPED: generation on static shapes is tested on an XLA plugin. Fetch it with: npx whetstone backend ' +
      `install xla-cpu (${plugin.reasons.join(', ')})`,
  );

const prompts = [
  [5, 7, 9, 11, 3],
  [8, 2],
];
const maxNewTokens = 80;

/** 80 tokens after prompts of unlike length, row by row. */
async function generate(): Promise<number[][]> {
  const model = tinyModel();
  const rows: number[][] = prompts.map(() => []);
  for await (const { row, id } of generateIds(model, prompts, { maxNewTokens })) rows[row]?.push(id);
  model.dispose();
  return rows;
}

/** Losses of steps whose batches are of unlike lengths, with unlike numbers of targets. */
async function trainUnlike(backend: StepServices['backend']): Promise<number[]> {
  const model = tinyModel();
  const owner = await fullStrategy().attach(model, { seed: 1, totalSteps: 6, modelFolder: null });
  const optimizer = createAdamW({ weightDecay: 0, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const losses: number[] = [];
  for (let step = 0; step < 6; step++) {
    const ids = Array.from({ length: 18 + step }, (_, index) => 1 + ((7 * index + step) % (tinyLlama.vocab_size - 1)));
    const batch = batchOf([{ ids, supervised: ids.map((_, index) => index > 2) }]);
    losses.push(
      (
        await trainStep(
          { model, owner, companions: [], sync: singleProcess, hooks: createHookRunner([]), optimizer, backend },
          [batch],
          step,
          1e-3,
        )
      ).loss,
    );
  }
  for (const item of [owner, optimizer, model]) item.dispose();
  return losses;
}

describe.skipIf(missing)('training where every shape is compiled', () => {
  it(
    'has the losses of the cpu backend, and compiles nothing for lengths near to one another',
    { timeout: 300_000 },
    async () => {
      await tf.setBackend('cpu');
      const expected = await trainUnlike({ barrier: () => undefined });
      const backend = await resolveBackend({ name: 'whetstone', engine: 'xla', threads: null });
      const { compiles } = (tf.backend() as WhetstoneBackend).counters();
      const losses = await trainUnlike(backend);
      losses.forEach((loss, step) => expect(loss).toBeCloseTo(expected[step] ?? NaN, 4));
      // Lengths 18 to 23 are one shape; 15 and 16 targets are one, 17 to 20 another.
      expect((tf.backend() as WhetstoneBackend).counters().compiles - compiles).toBeLessThan(8);
    },
  );
});

describe.skipIf(missing)('generation where every shape is compiled', () => {
  it(
    'gives the tokens of the cpu backend, and compiles no module for each position',
    { timeout: 300_000 },
    async () => {
      await tf.setBackend('cpu');
      const expected = await generate();
      await resolveBackend({ name: 'whetstone', engine: 'xla', threads: null });
      const { compiles } = (tf.backend() as WhetstoneBackend).counters();
      expect(await generate()).toEqual(expected);
      // 32 tokens of prompt; then room for 64 and for 128 keys, each with and without the growing.
      expect((tf.backend() as WhetstoneBackend).counters().compiles - compiles).toBeLessThan(16);
    },
  );
});
