import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { singleProcess } from '@whetstone/core/distributed';
import { runTraining, trainStep, type StepOutcome } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import type { Callback, StepReport, Strategy, TensorBackendInfo } from '@whetstone/core/contract';
import { createEarlyStopping } from '../../packages/plugins/src/early-stopping.js';
import { createGradientClipping } from '../../packages/plugins/src/gradient-clipping/gradient-clipping.js';
import { createNanGuard } from '../../packages/plugins/src/nan-guard.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { batchOf, randomRows } from '@whetstone/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { testBackends, useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, tinyLlama, tinyModel, train, valuesOf } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

/** Multiplies the logits by NaN in these steps, counted from 1. */
const nanLogits = (...steps: readonly number[]): Callback => ({
  transformLogits: (logits, { step }) => (steps.includes(step + 1) ? tf.mul(logits, NaN) : tf.clone(logits)),
});

/** Adds a term of infinite slope in these steps, counted from 1: the gradients overflow, the reported loss does not. */
const infiniteGradients = (...steps: readonly number[]): Callback => ({
  addLoss: (logits, { step }) =>
    steps.includes(step + 1) ? (tf.mul(tf.mean(logits), Infinity) as tf.Scalar) : undefined,
});

/** Requests to skip these steps through `control.skipUpdate`, as the reference for skipped steps. */
const askToSkip = (...steps: readonly number[]): Callback => ({
  transformGradients: (gradients, { step }, control) => {
    if (steps.includes(step + 1)) control.skipUpdate('asked');
    return gradients;
  },
});

const skip: Callback = { nonFinite: 'skip' };

/** Executes two steps. Returns the result of the second, and the weights and moments before and after it. */
async function secondStep(callbacks: readonly Callback[], backend: TensorBackendInfo, microbatches = 1) {
  const model = tinyModel();
  const owner = await fullStrategy().attach(model, { seed: 1, totalSteps: 2, modelFolder: null });
  const optimizer = createAdamW({ weightDecay: 0.1, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const hooks = createHookRunner(callbacks.map((callback) => ({ plugin: 'test', callback })));
  const parts = { model, owner, companions: [], sync: singleProcess, hooks, optimizer, backend };
  const rows = randomRows(2 * microbatches, tinyLlama.vocab_size, 5);
  const batches = Array.from({ length: microbatches }, (_, index) => batchOf(rows.slice(2 * index, 2 * index + 2)));
  const values = async () => ({
    weights: await valuesOf(model),
    moments: Object.fromEntries(
      await Promise.all(
        [...optimizer.saveState().tensors].map(async ([name, tensor]) => [name, [...(await tensor.data())]] as const),
      ),
    ),
  });
  try {
    await trainStep(parts, batches, 0, 0.1);
    const before = await values();
    const { numTensors } = tf.memory();
    const attempt: StepOutcome | Error = await trainStep(parts, batches, 1, 0.1).catch((error: Error) => error);
    expect(tf.memory().numTensors, 'tensors left over').toBe(numTensors);
    return { attempt, before, after: await values() };
  } finally {
    for (const item of [owner, optimizer, hooks, model]) item.dispose();
  }
}

describe.each(await testBackends())('a step that is not finite, on %s,', (name) => {
  let backend: TensorBackendInfo;
  beforeAll(async () => {
    backend = await useBackend(name);
  });
  afterAll(async () => void (await useBackend('cpu')));

  const cases = [
    ['a loss that is NaN', nanLogits(2), 'loss', 'the loss is NaN'],
    ['gradients that are infinite', infiniteGradients(2), 'gradient', 'a gradient is not a finite number'],
  ] as const;

  it.each(cases)('with %s fails the run, and does not change weights and optimizer', async (_, spoil) => {
    const { attempt, before, after } = await secondStep([spoil], backend);
    expect(attempt).toMatchObject({ code: 'NON_FINITE', details: { step: 2 } });
    expect((attempt as { hint?: string }).hint).toContain('nan-guard with the option "action": "skip"');
    expect(after).toEqual(before);
  });

  it.each(cases)('with %s makes no update if a callback requests that', async (_, spoil, nonFinite, skipReason) => {
    const { attempt, before, after } = await secondStep([spoil, skip], backend);
    expect(attempt).toMatchObject({ step: 2, updated: false, nonFinite, skipReason, samples: 2 });
    expect(after).toEqual(before);
    expect(
      Object.values(before.moments)
        .flat()
        .some((moment) => moment !== 0),
    ).toBe(true);
  });

  it('is skipped completely if one of its microbatches is not finite', async () => {
    let seen = 0;
    const third: Callback = {
      transformLogits: (logits, { step }) => (step === 1 && ++seen === 3 ? tf.mul(logits, NaN) : tf.clone(logits)),
    };
    const { attempt, before, after } = await secondStep([third, skip], backend, 4);
    expect(seen).toBe(4);
    expect(attempt).toMatchObject({ updated: false, nonFinite: 'loss', microbatches: 4, samples: 8 });
    expect(after).toEqual(before);
  });

  it('reports the reason of a callback that requests the skip, and what is not finite', async () => {
    const { attempt } = await secondStep([nanLogits(2), askToSkip(2)], backend);
    expect(attempt).toMatchObject({ updated: false, skipReason: 'asked', nonFinite: 'loss' });
  });

  it('is made if it is finite, and the report contains no reason', async () => {
    const { attempt, before, after } = await secondStep([skip], backend);
    expect(attempt).toMatchObject({ updated: true });
    expect(attempt).not.toHaveProperty('skipReason');
    expect(attempt).not.toHaveProperty('nonFinite');
    expect(after.weights).not.toEqual(before.weights);
  });
});

describe.each(await testBackends())('reads of the device, on %s,', (name) => {
  let info: TensorBackendInfo;
  beforeAll(async () => {
    info = await useBackend(name);
  });
  afterAll(async () => void (await useBackend('cpu')));

  /** Counts the reads from the device in each step of a run, both synchronous and asynchronous ones. */
  async function readsOfSteps(callbacks: readonly Callback[]): Promise<number[]> {
    const backend = tf.backend() as tf.KernelBackend;
    const spies = [vi.spyOn(backend, 'read'), vi.spyOn(backend, 'readSync')];
    const reads: number[] = [];
    let before = 0;
    const count = (): number => spies.reduce((sum, { mock }) => sum + mock.calls.length, 0);
    const run = testRun({
      callbacks: [
        ...callbacks,
        {
          onStepStart: () => void (before = count()),
          onStep: () => void reads.push(count() - before),
        },
      ],
      backend: info,
      training: { maxSteps: 3 },
    });
    try {
      await train(run);
      expect(Math.min(...reads)).toBeGreaterThan(0);
      return reads;
    } finally {
      for (const spy of spies) spy.mockRestore();
      disposeRun(run);
    }
  }

  it('have the same number with and without nan-guard, also in a skipped step', async () => {
    const plain = await readsOfSteps([nanLogits()]);
    expect(await readsOfSteps([nanLogits(), createNanGuard({ action: 'skip' })])).toEqual(plain);
    expect(await readsOfSteps([nanLogits(2), createNanGuard({ action: 'skip' })])).toEqual(plain);
  });

  it('are increased by one by nonFinite of gradient-clipping, which nan-guard replaces', async () => {
    const plain = await readsOfSteps([createGradientClipping()]);
    expect(await readsOfSteps([createGradientClipping({ nonFinite: 'skip' })])).toEqual(
      plain.map((reads) => reads + 1),
    );
    expect(await readsOfSteps([createGradientClipping(), createNanGuard({ action: 'skip' })])).toEqual(plain);
  });
});

describe('a run with nan-guard', () => {
  interface Ended {
    readonly reports: readonly StepReport[];
    readonly weights: Readonly<Record<string, number[]>>;
    readonly moments: Readonly<Record<string, number[]>>;
  }
  const training = { maxSteps: 8, gradientAccumulationSteps: 2 } as const;

  async function endOf(callbacks: readonly Callback[], more: Parameters<typeof testRun>[0] = {}): Promise<Ended> {
    const run = testRun({
      trainData: shuffledSource(7, 2),
      callbacks,
      ...more,
      training: { ...training, ...more.training },
    });
    try {
      const { reports } = await train(run);
      const moments: Record<string, number[]> = {};
      for (const [name, tensor] of run.optimizer.instance.saveState().tensors)
        moments[name] = Array.from(await tensor.data());
      return { reports, weights: await valuesOf(run.loaded.model), moments };
    } finally {
      disposeRun(run);
    }
  }

  it.each([
    ['a loss that is NaN', nanLogits],
    ['gradients that are infinite', infiniteGradients],
  ])('and %s ends as one whose callback skips the same steps', async (_, spoil) => {
    const asked = await endOf([spoil(), askToSkip(3, 4, 6)]);
    const guarded = await endOf([spoil(3, 4, 6), createNanGuard({ action: 'skip' })]);
    expect(guarded.reports.map(({ updated }) => updated)).toEqual(asked.reports.map(({ updated }) => updated));
    const counted = ({ step, epoch, learningRate, samples, tokens, microbatches }: StepReport) =>
      [step, epoch, learningRate, samples, tokens, microbatches] as const;
    expect(guarded.reports.map(counted)).toEqual(asked.reports.map(counted));
    expect(guarded.weights).toEqual(asked.weights);
    expect(guarded.moments).toEqual(asked.moments);
    // Only the steps that are made affect the weights: without skipped steps, the run ends with different weights.
    expect((await endOf([spoil()])).weights).not.toEqual(asked.weights);
  });

  it('fails once the weights themselves are not finite, with the number of steps', async () => {
    const warnings: string[] = [];
    const guard = createNanGuard({ action: 'skip', maxSkips: 3 }, (message) => void warnings.push(message));
    // The first update exceeds the range of float32.
    await expect(endOf([guard], { learningRate: 1e38, training: { maxSteps: 20 } })).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: expect.stringMatching(/At step 5 the loss is NaN, for 4 steps in a row\./) as string,
      details: { step: 5, hook: 'onStep' },
    });
    expect(warnings).toHaveLength(3);
    expect(warnings[2]).toBe('The update of step 4 was skipped: the loss is NaN (3 in a row, at most 3).');
  });

  it('counts only consecutive skipped steps', async () => {
    const { reports } = await endOf([nanLogits(2, 3, 5, 6), createNanGuard({ action: 'skip', maxSkips: 2 })]);
    expect(reports).toHaveLength(8);
    await expect(endOf([nanLogits(2, 3, 4), createNanGuard({ action: 'skip', maxSkips: 2 })])).rejects.toMatchObject({
      code: 'NON_FINITE',
      details: { step: 4 },
    });
  });

  it('resumes between two skipped steps, bit for bit and with the same count', async () => {
    const folders = { uninterrupted: await temporaryFolder(), resumed: await temporaryFolder() };
    const callbacks = (): Callback[] => [nanLogits(4, 5, 6), createNanGuard({ action: 'skip', maxSkips: 3 })];
    const saving = { saveStrategy: 'steps', saveSteps: 5 } as const;
    const uninterrupted = await endOf(callbacks(), { outputFolder: folders.uninterrupted, training: saving });

    const first = testRun({
      trainData: shuffledSource(7, 2),
      callbacks: callbacks(),
      outputFolder: folders.resumed,
      training: { ...training, ...saving },
    });
    for await (const { step } of runTraining(first)) if (step === 5) break;
    disposeRun(first);
    const resumed = await endOf(callbacks(), {
      outputFolder: folders.resumed,
      training: { ...saving, resumeFromCheckpoint: true },
    });
    expect(resumed.reports.map(({ step, updated }) => [step, updated])).toEqual([
      [6, false],
      [7, true],
      [8, true],
    ]);
    expect(resumed.weights).toEqual(uninterrupted.weights);
    expect(resumed.moments).toEqual(uninterrupted.moments);

    // The two steps before the interruption count: a limit of two is exceeded at step 6.
    const limited = (): Callback[] => [nanLogits(4, 5, 6), createNanGuard({ action: 'skip', maxSkips: 2 })];
    await expect(
      endOf(limited(), {
        outputFolder: folders.resumed,
        training: { ...saving, resumeFromCheckpoint: join(folders.resumed, 'checkpoint-5') },
      }),
    ).rejects.toMatchObject({ code: 'NON_FINITE', details: { step: 6 } });
  });

  it('logs the mean of the finite losses, also after a checkpoint within the window', async () => {
    const logOf = async (folder: string, step: number) => {
      const text = await readFile(join(folder, `checkpoint-${step}`, 'trainer_state.json'), 'utf8');
      return (JSON.parse(text) as { log_history: { step: number; loss?: number }[] }).log_history;
    };
    const folder = await temporaryFolder();
    const callbacks = (): Callback[] => [nanLogits(2, 5, 6), createNanGuard({ action: 'skip' })];
    const saving = { maxSteps: 6, loggingSteps: 2, saveStrategy: 'steps', saveSteps: 3 } as const;
    const { reports } = await endOf(callbacks(), { outputFolder: folder, training: saving });
    const [first, , third, fourth] = reports.map(({ loss }) => loss);
    const expected = [[2, first], [4, ((third ?? NaN) + (fourth ?? NaN)) / 2], [6]];
    const entries = (await logOf(folder, 6)).map(({ step, loss }) => (loss === undefined ? [step] : [step, loss]));
    expect(entries).toEqual(expected);
    await endOf(callbacks(), {
      outputFolder: folder,
      training: { ...saving, resumeFromCheckpoint: join(folder, 'checkpoint-3') },
    });
    expect((await logOf(folder, 6)).map(({ step, loss }) => (loss === undefined ? [step] : [step, loss]))).toEqual(
      expected,
    );
  });

  it('does not affect early stopping on the train loss', async () => {
    const stop = (): Callback =>
      createEarlyStopping({ metric: 'trainLoss', trainLossWindow: 2, patience: 1, restoreBest: false });
    // With a rate of 0, the second complete window does not improve on the first and ends the run.
    const steady = { learningRate: 0, trainData: shuffledSource(4, 4) };
    const plain = await endOf([stop()], steady);
    expect(plain.reports).toHaveLength(4);
    const guarded = await endOf([nanLogits(2), createNanGuard({ action: 'skip' }), stop()], steady);
    expect(guarded.reports).toHaveLength(5);
  });

  it('evaluates and stores the best weights as without nan-guard', async () => {
    const evaluated = (callbacks: readonly Callback[], owner: Strategy = fullStrategy()) => {
      const losses: number[] = [];
      return endOf([...callbacks, { onEvaluate: ({ loss }) => void losses.push(loss) }], {
        strategy: owner,
        evalData: shuffledSource(6, 2, 9),
        learningRate: 0.1,
        training: { maxSteps: 6, evalStrategy: 'steps', evalSteps: 1, loadBestModelAtEnd: true },
      }).then(({ weights }) => ({ losses, weights }));
    };
    const asked = await evaluated([nanLogits(), askToSkip(2)]);
    const guarded = await evaluated([nanLogits(2), createNanGuard({ action: 'skip' })]);
    expect(guarded).toEqual(asked);
    expect(guarded.losses).toHaveLength(6);
    // The skipped step changed no weight.
    expect(guarded.losses[1]).toBe(guarded.losses[0]);
  });
});
