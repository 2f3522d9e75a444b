import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { createBackendResolver, resolveBackend } from '@whetstone/backend';
import { findXlaPlugin } from '@whetstone/backend/install';
import { provide, Trainer } from '@whetstone/core';
import { singleProcess } from '@whetstone/core/distributed';
import { trainStep } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import { BACKEND_RESOLVER, LOGGER, MODEL_LOADER, TRAIN_DATA } from '@whetstone/core/contract';
import { createGradientClipping } from '../../packages/plugins/src/gradient-clipping/gradient-clipping.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { batchOf, randomRows } from '@whetstone/testing';
import { describe, expect, it } from 'vitest';
import { loadedOf, shuffledSource, tinyLlama, tinyModel } from '../support/training.js';
import { builtIns, recordingLogger, tinyConfig, tinyTrainer } from '../trainer/support.js';

const plugin = await findXlaPlugin();
const missing = 'reasons' in plugin;
if (missing)
  console.warn(
    'SKIPPED: several devices are tested on an XLA plugin. Fetch it with: npx whetstone backend install ' +
      `xla-cpu (${plugin.reasons.join(', ')})`,
  );

interface Trained {
  readonly losses: readonly number[];
  /** The parameters of each device. */
  readonly parameters: readonly ReadonlyMap<string, Float32Array>[];
}

/**
 * Trains three steps of one microbatch, whose conversations are distributed over the devices: full fine-tuning with
 * AdamW and clipping.
 */
async function train(devices: 1 | 2): Promise<Trained> {
  const both = await resolveBackend({ name: 'whetstone', engine: 'xla', threads: null, devices: 2 });
  const backend = devices === 2 ? both : { barrier: both.barrier };
  const rows = randomRows(5, tinyLlama.vocab_size, 5);
  const model = tinyModel();
  const owner = await fullStrategy().attach(model, { seed: 1, totalSteps: 3, modelFolder: null });
  const optimizer = createAdamW({ weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const hooks = createHookRunner([{ plugin: 'clipping', callback: createGradientClipping({ maxNorm: 0.5 }) }]);
  const losses: number[] = [];
  for (let step = 0; step < 3; step++) {
    const { loss } = await trainStep(
      { model, owner, companions: [], sync: singleProcess, hooks, optimizer, backend },
      [batchOf(rows)],
      step,
      1e-3,
    );
    losses.push(loss);
  }
  const parameters: ReadonlyMap<string, Float32Array>[] = [];
  for (let device = 0; device < devices; device++) {
    both.replicas?.use(device);
    // Computed on the device, from its own copy.
    parameters.push(
      new Map(
        [...model.parameters].map(([name, variable]) => [
          name,
          tf.tidy(() => tf.add(variable, 0).dataSync().slice() as Float32Array),
        ]),
      ),
    );
  }
  both.replicas?.use(0);
  for (const item of [owner, optimizer, model]) item.dispose();
  return { losses, parameters };
}

describe.skipIf(missing)('a step on two devices of one process', () => {
  it('has the losses of one device, and the same parameters on both', { timeout: 300_000 }, async () => {
    const one = await train(1);
    const two = await train(2);
    expect(two.losses).toHaveLength(3);
    two.losses.forEach((loss, step) => expect(loss).toBeCloseTo(one.losses[step] ?? NaN, 5));
    expect(one.losses[2]).not.toBeCloseTo(one.losses[0] ?? NaN, 3);
    const [first, second] = two.parameters;
    for (const [name, values] of first ?? []) {
      expect(second?.get(name), name).toEqual(values);
      const alone = one.parameters[0]?.get(name) ?? new Float32Array(0);
      expect(values).toHaveLength(alone.length);
      values.forEach((value, index) => expect(Math.abs(value - (alone[index] ?? NaN)), name).toBeLessThan(2e-4));
    }
  });

  it('is configured by the key devices', { timeout: 300_000 }, async () => {
    const losses = async (trainer: Trainer): Promise<number[]> => {
      const found: number[] = [];
      await trainer.on('step', ({ loss }) => found.push(loss)).run();
      return found;
    };
    await tf.setBackend('cpu');
    const expected = await losses(tinyTrainer({ training: { maxSteps: 3, saveStrategy: 'no' } }));
    const logger = recordingLogger();
    const services = [
      provide(MODEL_LOADER, { load: async () => loadedOf(tinyModel()) }),
      provide(TRAIN_DATA, shuffledSource(12, 2)),
      provide(LOGGER, logger),
      provide(BACKEND_RESOLVER, createBackendResolver()),
    ];
    const config = {
      ...tinyConfig,
      data: { train: 'unused.jsonl', shuffleDataset: false },
      backend: { name: 'whetstone', engine: 'xla', devices: 2 },
      training: { maxSteps: 3, saveStrategy: 'no' },
    };
    const found = await losses(
      new Trainer(config, { plugins: builtIns, defaults: { dataSource: 'conversations' }, services }),
    );
    expect(logger.lines[0]).toMatch(/on 2 devices/);
    found.forEach((loss, step) => expect(loss).toBeCloseTo(expected[step] ?? NaN, 4));
    expect(found).toHaveLength(3);
  });

  it('is rejected if the engine has only one device', async () => {
    await expect(
      resolveBackend({ name: 'whetstone', engine: 'tensorflow', threads: null, devices: 2 }),
    ).rejects.toMatchObject({ code: 'CONFIG_CONFLICT' });
    await expect(resolveBackend({ name: 'cpu', threads: null, devices: 2 })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
    });
  });
});
