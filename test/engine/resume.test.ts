import { appendFile, cp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { verifyCheckpoint } from '@whetstone/core/checkpoint';
import { runTraining, type TrainRun } from '@whetstone/core/training';
import type { Callback, Json, Strategy, TensorBackendInfo } from '@whetstone/core/contract';
import { isWhetstoneError } from '@whetstone/core/contract';
import { createEarlyStopping } from '../../packages/plugins/src/early-stopping.js';
import { createGradientClipping } from '../../packages/plugins/src/gradient-clipping/gradient-clipping.js';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { qloraStrategy } from '../../packages/strategies/src/qlora/qlora.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testBackends, useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train, valuesOf, type TestRunOptions } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

/**
 * Seven rows in batches of two, two batches per step: the run covers the middle of an epoch, its partial window, and
 * its end.
 */
const base = (options: TestRunOptions = {}): TestRunOptions => ({
  ...options,
  trainData: shuffledSource(7, 2),
  evalData: shuffledSource(4, 2, 9),
  callbacks: [createEarlyStopping({ patience: 50, restoreBest: false }), createGradientClipping({ maxNorm: 0.5 })],
  training: {
    maxSteps: 10,
    gradientAccumulationSteps: 2,
    evalStrategy: 'steps',
    evalSteps: 2,
    saveStrategy: 'steps',
    saveSteps: 5,
    ...options.training,
  },
});

interface End {
  readonly losses: readonly number[];
  readonly trained: Readonly<Record<string, number[]>>;
  readonly callbacks: Json;
  readonly moments: Readonly<Record<string, number[]>>;
  readonly best: unknown;
}

async function endOf(run: TrainRun): Promise<End> {
  const trained: Record<string, number[]> = {};
  const wrapped: Strategy = run.owner.instance;
  const attach = wrapped.attach.bind(wrapped);
  let read = async (): Promise<void> => undefined;
  const spied: Strategy = {
    role: wrapped.role,
    attach: async (model, strategyRun) => {
      const attachment = await attach(model, strategyRun);
      read = async () => {
        for (const [name, variable] of attachment.trainable) trained[name] = Array.from(await variable.data());
      };
      return attachment;
    },
  };
  const losses: number[] = [];
  for await (const { loss } of runTraining({ ...run, owner: { ...run.owner, instance: spied } })) {
    losses.push(loss);
    await read();
  }
  const moments: Record<string, number[]> = {};
  for (const [name, tensor] of run.optimizer.instance.saveState().tensors)
    moments[name] = Array.from(await tensor.data());
  const newest = join(run.outputFolder ?? '', 'checkpoint-10', 'trainer_state.json');
  const state = JSON.parse(await readFile(newest, 'utf8')) as Record<string, Json>;
  const logged = (state['log_history'] as Record<string, number>[]).map((entry) => ({
    ...entry,
    eval_runtime: 0,
    eval_samples_per_second: 0,
  }));
  return { losses, trained, callbacks: await run.hooks.saveState(), moments, best: { ...state, log_history: logged } };
}

const strategies: Record<string, () => Strategy | Promise<Strategy>> = {
  full: () => fullStrategy(),
  'full with bfloat16 weights': () => fullStrategy({ weights: 'bfloat16' }),
  'lora with dropout': () => loraStrategy({ rank: 2, dropout: 0.3 }),
  'qlora with dropout': () => qloraStrategy({ rank: 2, dropout: 0.3 }),
  'frozen-layers with gradual unfreezing': () => frozenLayersStrategy({ trainLastLayers: 2, unfreezeEverySteps: 3 }),
};

describe.each(await testBackends())('5 steps + save + stop + load + 5 steps equal 10, bit for bit, on %s', (name) => {
  let backend: TensorBackendInfo;
  beforeAll(async () => {
    backend = await useBackend(name);
  });
  afterAll(async () => void (await useBackend('cpu')));

  it.each(Object.keys(strategies))('%s', async (strategyName) => {
    const strategy = async (): Promise<Strategy> => strategies[strategyName]?.() ?? fullStrategy();
    const uninterrupted = testRun(base({ backend, strategy: await strategy(), outputFolder: await temporaryFolder() }));
    const expected = await endOf(uninterrupted);

    const outputFolder = await temporaryFolder();
    const first = testRun(base({ backend, strategy: await strategy(), outputFolder }));
    // Left in the middle of the epoch, one step after the checkpoint of step 5. That step is lost.
    for await (const { step } of runTraining(first)) if (step === 6) break;
    disposeRun(first);
    const second = testRun(
      base({ backend, strategy: await strategy(), outputFolder, training: { resumeFromCheckpoint: true } }),
    );
    const actual = await endOf(second);

    expect(actual.losses).toEqual(expected.losses.slice(5));
    expect(actual).toEqual({ ...expected, losses: expected.losses.slice(5) });
    for (const run of [uninterrupted, second]) disposeRun(run);
  });
});

describe('an aborted run', () => {
  it('finishes its step, saves and fails with INTERRUPTED; after resuming, it ends like any other', async () => {
    const uninterrupted = testRun(base({ outputFolder: await temporaryFolder() }));
    const expected = await endOf(uninterrupted);

    const outputFolder = await temporaryFolder();
    const controller = new AbortController();
    const aborting: Callback = { onStep: ({ step }) => void (step === 3 && controller.abort(new Error('SIGINT'))) };
    const options = base({ outputFolder, signal: controller.signal });
    const first = testRun({ ...options, callbacks: [...(options.callbacks ?? []), aborting] });
    const error = await train(first).catch((reason: unknown) => reason);
    expect(isWhetstoneError(error) && error.code).toBe('INTERRUPTED');
    expect(error).toMatchObject({
      exitCode: 130,
      details: { step: 3, checkpoint: join(outputFolder, 'checkpoint-3') },
    });
    disposeRun(first);
    const second = testRun(
      base({ outputFolder, training: { resumeFromCheckpoint: join(outputFolder, 'checkpoint-3') } }),
    );
    expect((await endOf(second)).trained).toEqual(expected.trained);
    for (const run of [uninterrupted, second]) disposeRun(run);
  });

  it('can be interrupted before its first step, without a checkpoint', async () => {
    const outputFolder = await temporaryFolder();
    const run = testRun(base({ outputFolder, signal: AbortSignal.abort() }));
    await expect(train(run)).rejects.toMatchObject({ code: 'INTERRUPTED', details: { step: 0, checkpoint: null } });
    expect(await readdir(outputFolder)).toEqual([]);
    disposeRun(run);
  });
});

describe('a checkpoint', () => {
  /** The folder of a run with checkpoints at 2 and 4. */
  async function folderWithTwo(): Promise<string> {
    const outputFolder = await temporaryFolder();
    const run = testRun(base({ outputFolder, training: { maxSteps: 4, saveSteps: 2 } }));
    await train(run);
    disposeRun(run);
    return outputFolder;
  }

  it('contains the keys of transformers and a manifest, but no temporary file', async () => {
    const outputFolder = await folderWithTwo();
    const names = await readdir(outputFolder);
    expect(names.toSorted()).toEqual(['checkpoint-2', 'checkpoint-4', 'model']);
    const folder = join(outputFolder, 'checkpoint-4');
    await verifyCheckpoint(folder);
    const state = JSON.parse(await readFile(join(folder, 'trainer_state.json'), 'utf8')) as Record<string, unknown>;
    expect(state).toMatchObject({
      global_step: 4,
      max_steps: 4,
      num_train_epochs: 2,
      epoch: 2,
      train_batch_size: 2,
      save_steps: 2,
      eval_steps: 2,
      logging_steps: 1,
    });
    expect((state['log_history'] as object[]).length).toBe(6);
    expect(Object.keys(state['stateful_callbacks'] as object)).toEqual(['callback-0', 'callback-1']);
  });

  it.each([
    ['a truncated file', (folder: string) => truncate(join(folder, 'optimizer.safetensors'), 100)],
    [
      'a changed byte',
      (folder: string) => writeFile(join(folder, 'scheduler.json'), '{"plugin":"constant","step":9}\n'),
    ],
    ['a longer file', (folder: string) => appendFile(join(folder, 'model.safetensors'), 'x')],
    ['a missing file', (folder: string) => rm(join(folder, 'trainer_state.json'))],
    ['a missing manifest', (folder: string) => rm(join(folder, 'manifest.json'))],
    ['an incomplete manifest', (folder: string) => truncate(join(folder, 'manifest.json'), 50)],
  ])('with %s is skipped with a warning, and the previous one is used', async (_, damage) => {
    const outputFolder = await folderWithTwo();
    await damage(join(outputFolder, 'checkpoint-4'));
    const warnings: string[] = [];
    const steps: number[] = [];
    const run = testRun({
      ...base({ outputFolder, training: { maxSteps: 4, saveSteps: 2, resumeFromCheckpoint: true } }),
      callbacks: [
        createEarlyStopping({ patience: 50, restoreBest: false }),
        createGradientClipping({ maxNorm: 0.5 }),
        { onRunStart: ({ startStep }) => void steps.push(startStep) },
      ],
      warn: (message) => void warnings.push(message),
    });
    await train(run);
    expect(steps).toEqual([2]);
    expect(warnings.join('\n')).toMatch(/the previous one is tried instead.*checkpoint-4/s);
    await verifyCheckpoint(join(outputFolder, 'checkpoint-4'));
    disposeRun(run);
  });

  it('requested by name must be complete, and so must one of several', async () => {
    const outputFolder = await folderWithTwo();
    for (const step of [2, 4]) await truncate(join(outputFolder, `checkpoint-${step}`, 'optimizer.safetensors'), 10);
    for (const resumeFromCheckpoint of [join(outputFolder, 'checkpoint-2'), true]) {
      const run = testRun(base({ outputFolder, training: { resumeFromCheckpoint } }));
      await expect(train(run)).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID' });
      disposeRun(run);
    }
  });

  it('of another strategy is rejected', async () => {
    const outputFolder = await folderWithTwo();
    const other = {
      ...testRun(base({ outputFolder, training: { resumeFromCheckpoint: true } })),
      owner: { plugin: 'lora', instance: loraStrategy() },
    };
    await expect(train(other)).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      found: expect.stringContaining('full') as string,
    });
    disposeRun(other);
  });

  it.each(['data', 'template'] as const)(
    'with a different %s is rejected with both hashes, unless resumeDespite allows it',
    async (what) => {
      const outputFolder = await folderWithTwo();
      const warnings: string[] = [];
      const resumed = (resumeDespite: readonly ('data' | 'template')[]) => {
        const run = testRun({
          ...base({ outputFolder, training: { maxSteps: 5, resumeFromCheckpoint: true, resumeDespite } }),
          warn: (message) => void warnings.push(message),
        });
        const hashes = { data: run.trainData.summary.contentHash, template: run.loaded.renderer.hash };
        const changed =
          what === 'data'
            ? { ...run, trainData: { ...run.trainData, summary: { ...run.trainData.summary, contentHash: 'other' } } }
            : { ...run, loaded: { ...run.loaded, renderer: { ...run.loaded.renderer, hash: 'other' } } };
        return { run, changed, was: hashes[what] };
      };
      const rejected = resumed(what === 'data' ? ['template'] : ['data']);
      await expect(train(rejected.changed)).rejects.toMatchObject({
        code: 'CHECKPOINT_INVALID',
        message: expect.stringContaining(what) as string,
        expected: expect.stringContaining('other') as string,
        found: expect.stringContaining(rejected.was) as string,
        hint: expect.stringContaining(`training.resumeDespite to ["${what}"]`) as string,
      });
      disposeRun(rejected.run);
      expect(warnings).toEqual([]);
      const allowed = resumed([what]);
      expect((await train(allowed.changed)).reports.map(({ step }) => step)).toEqual([5]);
      expect(warnings).toEqual([expect.stringContaining('differs')]);
      disposeRun(allowed.run);
    },
  );

  it('that a killed process left incomplete is ignored and removed', async () => {
    const outputFolder = await folderWithTwo();
    await cp(join(outputFolder, 'checkpoint-4'), join(outputFolder, '.checkpoint-6.0123456789ab.partial'), {
      recursive: true,
    });
    const run = testRun(base({ outputFolder, training: { maxSteps: 5, resumeFromCheckpoint: true } }));
    expect((await train(run)).reports.map(({ step }) => step)).toEqual([5]);
    expect((await readdir(outputFolder)).filter((name) => name.startsWith('.'))).toEqual([]);
    disposeRun(run);
  });

  it('that cannot be written completely leaves no file', async () => {
    const outputFolder = await temporaryFolder();
    const failing: Strategy = {
      role: 'owner',
      attach: async (model, strategyRun) => ({
        ...(await fullStrategy().attach(model, strategyRun)),
        saveState: () => {
          throw new Error('no luck');
        },
      }),
    };
    const run = testRun(base({ outputFolder, strategy: failing, training: { maxSteps: 2, saveSteps: 1 } }));
    await expect(train(run)).rejects.toThrow('no luck');
    expect(await readdir(outputFolder)).toEqual([]);
    disposeRun(run);
  });

  it('is not required: a run without a checkpoint to resume from starts at the beginning', async () => {
    const warnings: string[] = [];
    const run = testRun({
      ...base({ outputFolder: await temporaryFolder(), training: { maxSteps: 1, resumeFromCheckpoint: true } }),
      warn: (message) => void warnings.push(message),
    });
    expect((await train(run)).reports.length).toBe(1);
    expect(warnings.join()).toMatch(/checkpoint to resume from was not found/);
    disposeRun(run);
  });
});

it('a run that fails to resume does not change the model', async () => {
  const run = testRun(
    base({ outputFolder: await temporaryFolder(), training: { resumeFromCheckpoint: '/does/not/exist' } }),
  );
  const before = await valuesOf(run.loaded.model);
  await expect(train(run)).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID' });
  expect(await valuesOf(run.loaded.model)).toEqual(before);
  disposeRun(run);
});
