import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { runTraining } from '@whetstone/core/training';
import type { Callback, EvaluationReport, HookName, Strategy } from '@whetstone/core/contract';
import { hookTable } from '@whetstone/core/contract';
import { createEarlyStopping } from '../../packages/plugins/src/early-stopping.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { difference, readTensors } from '../support/tensors.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, tinyModel, train, valuesOf } from '../support/training.js';

beforeAll(() => tf.setBackend('cpu'));

/** A callback that records the calls of all observing hooks, with the step or epoch. */
function journal(calls: string[]): Callback {
  const observing = (Object.keys(hookTable) as HookName[]).filter((hook) => hookTable[hook].kind === 'observe');
  return Object.fromEntries(
    observing.map((hook) => [
      hook,
      (value: unknown) => {
        const step = typeof value === 'number' ? value : (value as { step?: number }).step;
        calls.push(step === undefined ? hook : `${hook} ${step}`);
      },
    ]),
  );
}

describe('a run', () => {
  it('calls the hooks in the documented order', async () => {
    const calls: string[] = [];
    const run = testRun({
      callbacks: [journal(calls)],
      outputFolder: await temporaryFolder(),
      trainData: shuffledSource(5, 2),
      evalData: shuffledSource(4, 2),
      training: {
        gradientAccumulationSteps: 2,
        numTrainEpochs: 2,
        evalStrategy: 'ends',
        saveStrategy: 'steps',
        saveSteps: 3,
      },
    });
    const { reports, report } = await train(run);
    expect(calls).toEqual([
      'onRunStart',
      'onEvaluate 0',
      'onEpochStart 0',
      'onStepStart 1',
      'onStep 1',
      'onStepStart 2',
      'onStep 2',
      'onEpochEnd 0',
      'onEpochStart 1',
      'onStepStart 3',
      'onStep 3',
      'onSave 3',
      'onStepStart 4',
      'onStep 4',
      'onEpochEnd 1',
      'onEvaluate 4',
      'onSave 4',
      'onRunEnd',
    ]);
    // Five rows in batches of two make three batches, in windows of two and one.
    expect(reports.map(({ microbatches }) => microbatches)).toEqual([2, 1, 2, 1]);
    expect(reports.map(({ samples }) => samples)).toEqual([4, 1, 4, 1]);
    expect(reports.map(({ epoch }) => epoch)).toEqual([2 / 3, 1, 1 + 2 / 3, 2]);
    expect(report).toMatchObject({ steps: 4, backend: 'cpu', stopReason: null });
    expect(report.evalLossBefore).toBeGreaterThan(report.evalLossAfter ?? Infinity);
    expect(report.peakMemoryBytes).toBeGreaterThan(1e7);
    expect(report.supervisedTokensPerSecond).toBeGreaterThan(0);
    disposeRun(run);
  });

  it.each(['ends', 'steps', 'no'] as const)(
    "writes the last step's checkpoint once, with its evaluation (evalStrategy %s)",
    async (evalStrategy) => {
      const calls: string[] = [];
      const outputFolder = await temporaryFolder();
      const run = testRun({
        callbacks: [journal(calls)],
        outputFolder,
        trainData: shuffledSource(8, 2),
        evalData: shuffledSource(4, 2),
        training: { numTrainEpochs: 1, evalStrategy, evalSteps: 4, saveStrategy: 'steps', saveSteps: 2 },
      });
      const { report } = await train(run);
      expect(calls.filter((call) => call.startsWith('onSave'))).toEqual(['onSave 2', 'onSave 4']);
      const state = JSON.parse(await readFile(join(outputFolder, 'checkpoint-4', 'trainer_state.json'), 'utf8')) as {
        log_history: { eval_loss?: number }[];
      };
      expect(state.log_history.flatMap((entry) => entry.eval_loss ?? []).at(-1)).toBe(
        evalStrategy === 'no' ? undefined : report.evalLossAfter,
      );
      disposeRun(run);
    },
  );

  it('leaks no tensor', async () => {
    const before = tf.memory().numTensors;
    const run = testRun({
      strategy: loraStrategy({ rank: 2 }),
      trainData: shuffledSource(6, 2),
      evalData: shuffledSource(4, 2),
      training: { evalStrategy: 'epoch' },
    });
    await train(run);
    disposeRun(run);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('lets timers run between steps', async () => {
    let turns = 0;
    const timer = setInterval(() => {
      turns++;
    }, 1);
    const run = testRun({ trainData: shuffledSource(20, 2) });
    await train(run);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(5);
    disposeRun(run);
  });

  it('stops at maxSteps, in the middle of an epoch, and counts epochs as transformers does', async () => {
    const run = testRun({ trainData: shuffledSource(12, 2), training: { maxSteps: 8 } });
    const { reports } = await train(run);
    expect(reports.length).toBe(8);
    expect(reports.at(-1)?.epoch).toBeCloseTo(8 / 6, 12);
    expect(reports.at(-1)?.totalSteps).toBe(8);
    disposeRun(run);
    const fraction = testRun({ trainData: shuffledSource(12, 2), training: { numTrainEpochs: 1.5 } });
    expect((await train(fraction)).reports.length).toBe(9);
    disposeRun(fraction);
  });

  it('evaluates, saves and stops on request of a callback', async () => {
    const calls: string[] = [];
    const asking: Callback = {
      onStep: ({ step }, control) => {
        if (step === 2) control.evaluate();
        if (step === 3) control.save();
        if (step === 4) control.stop('enough');
      },
    };
    const run = testRun({
      callbacks: [asking, journal(calls)],
      evalData: shuffledSource(4, 2),
      outputFolder: await temporaryFolder(),
    });
    const { report } = await train(run);
    expect(report).toMatchObject({ steps: 4, stopReason: 'enough' });
    expect(calls.filter((call) => /onEvaluate|onSave/.test(call))).toEqual(['onEvaluate 2', 'onSave 3']);
    disposeRun(run);
  });

  it('ends when the loop over its reports is left, and disposes the strategy', async () => {
    const model = tinyModel();
    const tensors = tf.memory().numTensors;
    const run = testRun({ model, strategy: loraStrategy({ rank: 2 }) });
    for await (const report of runTraining(run)) if (report.step === 2) break;
    run.optimizer.instance.dispose();
    expect(tf.memory().numTensors).toBe(tensors);
    model.dispose();
  });

  it('names the strategy that cannot be attached', async () => {
    const run = testRun({
      companions: [
        {
          role: 'companion',
          attach: () => {
            throw new Error('no');
          },
        },
      ],
    });
    await expect(train(run)).rejects.toMatchObject({ code: 'PLUGIN_FAILED', details: { plugin: 'companion-0' } });
    disposeRun(run);
  });

  // TensorFlow has no maximum of booleans.
  const misuse = (): tf.Tensor =>
    tf.tidy(() => tf.engine().runKernel('Max', { x: tf.tensor1d([true], 'bool') }, { reductionIndices: [0] }));

  it('names the step in which a strategy computes what the backend refuses', async () => {
    const strategy: Strategy = {
      role: 'owner',
      attach: async (model, strategyRun) => {
        const [site] = model.linearSites.values();
        site?.wrap((base) => (input) => {
          misuse();
          return base(input);
        });
        return fullStrategy().attach(model, strategyRun);
      },
    };
    const run = testRun({ strategy });
    await expect(train(run)).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringMatching(/^Step 1 .* failed: .*Max/) as string,
    });
    disposeRun(run);
  });
});

describe('evaluation', () => {
  it('gives every token the same weight for any batching', async () => {
    const losses: number[] = [];
    for (const batchSize of [1, 3, 7]) {
      const reports: EvaluationReport[] = [];
      const run = testRun({
        evalData: shuffledSource(7, batchSize),
        callbacks: [{ onEvaluate: (report) => void reports.push(report) }],
        training: { evalStrategy: 'ends', maxSteps: 1 },
      });
      await train(run);
      losses.push(reports[0]?.loss ?? NaN);
      expect(reports[0]?.perplexity).toBeCloseTo(Math.exp(reports[0]?.loss ?? NaN), 6);
      disposeRun(run);
    }
    expect(losses[1]).toBeCloseTo(losses[0] ?? NaN, 5);
    expect(losses[2]).toBeCloseTo(losses[0] ?? NaN, 5);
  });
});

describe('the best weights', () => {
  /** Overfits to rows that are not in the evaluation data, so that the evaluation loss rises. */
  const overfitting = {
    evalData: shuffledSource(6, 2, 9),
    trainData: shuffledSource(6, 2),
    learningRate: 0.1,
    training: { maxSteps: 6, evalStrategy: 'steps', evalSteps: 1, loadBestModelAtEnd: true },
  } as const;

  it.each([
    ['from a checkpoint', true],
    ['from memory without an output folder', false],
  ])('are put back %s', async (_, writes) => {
    const seen: { step: number; loss: number }[] = [];
    const run = testRun({
      ...overfitting,
      outputFolder: writes ? await temporaryFolder() : null,
      callbacks: [{ onEvaluate: ({ step, loss }) => void seen.push({ step, loss }) }],
    });
    const { report } = await train(run);
    const best = seen.toSorted((a, b) => a.loss - b.loss)[0];
    expect(best?.step).toBeLessThan(6);
    expect(report.evalLossAfter).toBe(best?.loss);
    const check = testRun({
      ...overfitting,
      model: run.loaded.model,
      learningRate: 0,
      training: { maxSteps: 1, evalStrategy: 'ends' },
    });
    expect((await train(check)).report.evalLossBefore).toBeCloseTo(best?.loss ?? NaN, 6);
    disposeRun(run);
  });

  it('are stored by early stopping, too, with a limit on checkpoints', async () => {
    const outputFolder = await temporaryFolder();
    const run = testRun({
      ...overfitting,
      outputFolder,
      callbacks: [createEarlyStopping({ patience: 2 })],
      training: {
        maxSteps: 30,
        evalStrategy: 'steps',
        evalSteps: 1,
        saveStrategy: 'steps',
        saveSteps: 1,
        saveTotalLimit: 2,
      },
    });
    const { report } = await train(run);
    expect(report.stopReason).toMatch(/early stopping/);
    const checkpoints = (await readdir(outputFolder)).filter((name) => name.startsWith('checkpoint-'));
    expect(checkpoints.length).toBe(2);
    const last = checkpoints.map((name) => Number(name.slice(11))).toSorted((a, b) => b - a)[0];
    const state = JSON.parse(
      await readFile(join(outputFolder, `checkpoint-${last}`, 'trainer_state.json'), 'utf8'),
    ) as Record<string, unknown>;
    expect(checkpoints).toContain(`checkpoint-${String(state['best_global_step'])}`);
    expect(state['best_metric']).toBe(report.evalLossAfter);
    disposeRun(run);
  });
});

describe('early stopping on the train loss', () => {
  it.each([
    ['with a folder', true],
    ['without', false],
  ])('keeps the best weights of the windows, %s', async (_, writes) => {
    const losses: number[] = [];
    const kept: Record<string, number[]>[] = [];
    const stop = createEarlyStopping({ metric: 'trainLoss', trainLossWindow: 1, patience: 3 });
    // With this learning rate, the loss first falls and then diverges.
    const run = testRun({
      learningRate: 0.3,
      trainData: shuffledSource(4, 4),
      evalData: shuffledSource(4, 2, 9),
      outputFolder: writes ? await temporaryFolder() : null,
      training: { numTrainEpochs: 40 },
      callbacks: [
        { onStep: async ({ loss }) => void (losses.push(loss), kept.push(await valuesOf(run.loaded.model))) },
        stop,
      ],
    });
    const { report } = await train(run);
    expect(report.stopReason).toMatch(/trainLoss did not improve in 3/);
    const best = losses.indexOf(Math.min(...losses));
    expect(best).toBe(losses.length - 4);
    expect(await valuesOf(run.loaded.model)).toEqual(kept[best]);
    // These weights were not evaluated before, so that they are evaluated at the end.
    expect(report.evalLossAfter).toEqual(expect.any(Number));
    disposeRun(run);
  });
});

describe('the result', () => {
  it('is a PEFT adapter folder if the strategy exports one', async () => {
    const outputFolder = await temporaryFolder();
    const run = testRun({ strategy: loraStrategy({ rank: 2 }), outputFolder, training: { maxSteps: 2 } });
    await train(run);
    expect((await readdir(join(outputFolder, 'adapter'))).toSorted()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
      'manifest.json',
    ]);
    const text = await readFile(join(outputFolder, 'adapter', 'adapter_config.json'), 'utf8');
    const keys = Object.keys(JSON.parse(text) as object);
    expect(keys).toEqual(keys.toSorted());
    expect(text).toContain('\n  "peft_type": "LORA"');
    disposeRun(run);
  });

  it('is a model folder otherwise, with the trained weights', async () => {
    const outputFolder = await temporaryFolder();
    const run = testRun({ strategy: fullStrategy(), outputFolder, training: { maxSteps: 2 } });
    await train(run);
    const written = await readTensors(join(outputFolder, 'model', 'model.safetensors'));
    const values = await valuesOf(run.loaded.model);
    expect([...written.keys()].toSorted()).toEqual(Object.keys(values).toSorted());
    for (const [name, value] of written) expect(difference(value, values[name] ?? []).largest).toBe(0);
    expect(existsSync(join(outputFolder, 'model', 'config.json'))).toBe(true);
    disposeRun(run);
  });
});
