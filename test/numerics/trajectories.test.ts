import { existsSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { weightDecayApplies } from '@whetstone/core/optimizers';
import type { Attachment, Strategy } from '@whetstone/core/contract';
import { loadLanguageModel } from '@whetstone/models';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { cosineSchedule } from '../../packages/core/src/schedules/cosine.js';
import { testBackends, useBackend } from '../support/backend.js';
import type { FixtureBatch } from '../support/batch.js';
import { goldenPath, readGolden } from '../support/golden.js';
import { assignAll, difference, readTensors } from '../support/tensors.js';
import { attach, runSteps, windowsOf } from '../support/trajectory.js';

interface Trajectory {
  readonly base_model: string;
  readonly hyper_parameters: {
    readonly lr: number;
    readonly weight_decay: number;
    readonly warmup_steps: number;
    readonly max_grad_norm: number;
  };
  readonly decay_parameters: readonly string[];
  readonly no_decay_parameters: readonly string[];
  readonly steps: readonly {
    readonly loss: number;
    readonly grad_norm: number;
    readonly lr: number;
    readonly target_tokens: number;
  }[];
  readonly tolerance: {
    readonly loss_abs: number;
    readonly grad_norm_rel: number;
    readonly lr_rel: number;
    readonly final_weight_abs: number;
    readonly final_weight_mean_abs: number;
  };
  readonly micro_batches: readonly FixtureBatch[];
}

interface SftRun {
  readonly arguments: {
    readonly learning_rate: number;
    readonly weight_decay: number;
    readonly warmup_steps: number;
    readonly max_grad_norm: number;
    readonly gradient_accumulation_steps: number;
  };
  readonly micro_batches: readonly (FixtureBatch & {
    readonly num_items_in_batch: number;
    readonly micro_loss: number;
  })[];
  readonly log_history: readonly {
    readonly loss?: number;
    readonly grad_norm?: number;
    readonly learning_rate?: number;
    readonly step: number;
  }[];
  readonly decay_parameters: readonly string[];
  readonly no_decay_parameters: readonly string[];
  readonly tolerance: { readonly grad_norm_rel: number; readonly final_weight_abs: number };
}

async function expectFinal(
  attachment: Attachment,
  file: string,
  tolerance: { readonly largest: number; readonly mean?: number },
  leaveOut: (name: string, index: number) => boolean = () => false,
): Promise<void> {
  const final = await readTensors(file);
  expect([...attachment.trainable.keys()].toSorted()).toEqual([...final.keys()].toSorted());
  for (const [name, variable] of attachment.trainable) {
    const keep = (_: number, index: number): boolean => !leaveOut(name, index);
    const found = difference([...(await variable.data())].filter(keep), [...(final.get(name) ?? [])].filter(keep));
    expect(found.largest, name).toBeLessThanOrEqual(tolerance.largest);
    if (tolerance.mean !== undefined) expect(found.mean, name).toBeLessThanOrEqual(tolerance.mean);
  }
}

function expectDecay(fixture: {
  readonly decay_parameters: readonly string[];
  readonly no_decay_parameters: readonly string[];
}): void {
  expect(fixture.decay_parameters.filter((name) => !weightDecayApplies(name))).toEqual([]);
  expect(fixture.no_decay_parameters.filter((name) => weightDecayApplies(name))).toEqual([]);
}

const relative = (actual: number, expected: number): number =>
  Math.abs(actual - expected) / Math.max(Math.abs(expected), 1e-30);

let disposables: { dispose(): void }[] = [];
afterEach(() => {
  for (const item of disposables) item.dispose();
  disposables = [];
});

const backends = await testBackends();

/** Expected values: PyTorch, step by step, with the listed microbatches. */
describe.each(backends)('trajectories of 24 steps with two microbatches per step, on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  const strategyOf: Record<
    string,
    (finalNames: readonly string[], adapter: Record<string, unknown> | null) => Strategy
  > = {
    full: () => fullStrategy(),
    'full-gpt2': () => fullStrategy(),
    lora: (_, adapter) =>
      loraStrategy({
        rank: Number(adapter?.['r']),
        alpha: Number(adapter?.['lora_alpha']),
        targetModules: adapter?.['target_modules'] as string[],
      }),
    frozen: (names) =>
      frozenLayersStrategy({
        trainLastLayers: new Set(names.flatMap((name) => /\.layers\.(\d+)\./.exec(name)?.[1] ?? [])).size,
        head: names.some((name) => name.startsWith('lm_head')),
      }),
  };

  it.each(Object.keys(strategyOf))('%s', async (name) => {
    const fixture = readGolden<Trajectory>('trajectories', name, 'golden.json');
    const {
      lr: learningRate,
      weight_decay: weightDecay,
      warmup_steps: warmupSteps,
      max_grad_norm: maxNorm,
    } = fixture.hyper_parameters;
    expectDecay(fixture);
    const finalFile = goldenPath('trajectories', name, 'final.safetensors');
    const adapterFolder = ['trajectories', name, 'init_adapter'] as const;
    const adapter = existsSync(goldenPath(...adapterFolder))
      ? readGolden<Record<string, unknown>>(...adapterFolder, 'adapter_config.json')
      : null;
    const model = await loadLanguageModel(goldenPath(fixture.base_model));
    const strategy = strategyOf[name]?.([...(await readTensors(finalFile)).keys()], adapter);
    if (strategy === undefined) throw new Error(`No strategy for ${name}.`);
    const attachment = await attach(strategy, model, fixture.steps.length);
    disposables = [attachment, model];
    if (adapter !== null)
      assignAll(
        attachment.trainable,
        await readTensors(goldenPath(...adapterFolder, 'adapter_model.safetensors')),
        (values, shape) => tf.tensor(values, shape),
      );

    const schedule = cosineSchedule(
      { warmupSteps, numCycles: 0.5 },
      { totalSteps: fixture.steps.length, learningRate },
    );
    const outcomes = await runSteps(
      model,
      attachment,
      windowsOf(fixture.micro_batches, fixture.micro_batches.length / fixture.steps.length),
      { learningRate, weightDecay, maxNorm, schedule },
    );

    expect(outcomes.length).toBe(fixture.steps.length);
    for (const [index, expected] of fixture.steps.entries()) {
      const actual = outcomes[index];
      expect(actual?.supervisedTokens).toBe(expected.target_tokens);
      expect(Math.abs((actual?.loss ?? NaN) - expected.loss), `loss of step ${index + 1}`).toBeLessThanOrEqual(
        fixture.tolerance.loss_abs,
      );
      expect(
        relative(actual?.metrics['gradNorm'] ?? NaN, expected.grad_norm),
        `norm of step ${index + 1}`,
      ).toBeLessThanOrEqual(fixture.tolerance.grad_norm_rel);
      expect(relative(actual?.learningRate ?? NaN, expected.lr)).toBeLessThanOrEqual(fixture.tolerance.lr_rel);
    }
    const { final_weight_abs: largest, final_weight_mean_abs: mean } = fixture.tolerance;
    // GPT-2's key bias has no gradient in exact arithmetic, so that Adam amplifies the rounding noise of the reference.
    await expectFinal(
      attachment,
      finalFile,
      { largest, mean },
      (parameter, index) =>
        parameter.endsWith('attn.c_attn.bias') && index >= model.hiddenSize && index < 2 * model.hiddenSize,
    );
  });
});

/**
 * Expected values: TRL's SFTTrainer, with the microbatches of its model. The cpu backend is skipped if there is a
 * faster one.
 */
describe.each(backends.filter((backend) => backend !== 'cpu' || backends.length === 1))(
  'runs of TRL, replayed on %s',
  (backend) => {
    beforeAll(() => useBackend(backend));

    it.each(['sft', 'sft-lora', 'sft-packing'])('%s', async (name) => {
      const fixture = readGolden<SftRun>('trajectories', name, 'golden.json');
      const {
        learning_rate: learningRate,
        weight_decay: weightDecay,
        warmup_steps: warmupSteps,
        max_grad_norm: maxNorm,
      } = fixture.arguments;
      expectDecay(fixture);
      const logged = fixture.log_history.filter((entry) => entry.loss !== undefined);
      const model = await loadLanguageModel(goldenPath('trajectories', 'sft-model'));
      const initFile = goldenPath('trajectories', name, 'init.safetensors');
      const initial = existsSync(initFile) ? await readTensors(initFile) : null;
      // The generator's LoRA has rank 4 and alpha 8 on all linear layers; its configuration is not part of the fixture.
      const attachment = await attach(
        initial === null ? fullStrategy() : loraStrategy({ rank: 4, alpha: 8 }),
        model,
        logged.length,
      );
      disposables = [attachment, model];
      if (initial !== null) assignAll(attachment.trainable, initial, (values, shape) => tf.tensor(values, shape));

      const windows = windowsOf(fixture.micro_batches, fixture.arguments.gradient_accumulation_steps);
      expect(windows.length).toBe(logged.length);
      const schedule = cosineSchedule({ warmupSteps, numCycles: 0.5 }, { totalSteps: logged.length, learningRate });
      const outcomes = await runSteps(model, attachment, windows, { learningRate, weightDecay, maxNorm, schedule });

      for (const [index, expected] of logged.entries()) {
        const actual = outcomes[index];
        expect(actual?.supervisedTokens).toBe(
          fixture.micro_batches[index * fixture.arguments.gradient_accumulation_steps]?.num_items_in_batch,
        );
        expect(
          Math.abs((actual?.loss ?? NaN) - (expected.loss ?? NaN)),
          `loss of step ${index + 1}`,
        ).toBeLessThanOrEqual(2e-4);
        expect(
          relative(actual?.metrics['gradNorm'] ?? NaN, expected.grad_norm ?? NaN),
          `norm of step ${index + 1}`,
        ).toBeLessThanOrEqual(fixture.tolerance.grad_norm_rel);
        expect(relative(actual?.learningRate ?? NaN, expected.learning_rate ?? NaN)).toBeLessThanOrEqual(1e-7);
      }
      await expectFinal(attachment, goldenPath('trajectories', name, 'final.safetensors'), {
        largest: fixture.tolerance.final_weight_abs,
      });
    });
  },
);
