import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { BatchSource, Callback, Json, StepReport, Strategy, Workers } from '@whetstone/core/contract';
import { singleWorker } from '@whetstone/core/distributed';
import type { TrainRun } from '@whetstone/core/training';
import { beforeAll, describe, expect, it } from 'vitest';
import { createGradientClipping } from '../../packages/plugins/src/gradient-clipping/gradient-clipping.js';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train, valuesOf, type TestRunOptions } from '../support/training.js';

beforeAll(() => tf.setBackend('cpu'));

/** Requests a rollback after these steps, each time that they are made, or the first time only. */
function rollingBack(after: (report: StepReport) => boolean, and: Partial<Callback> = {}): Callback {
  return {
    rollsBack: true,
    onStep: (report, control) => {
      if (after(report)) control.rollback(`step ${report.step} failed`);
    },
    ...and,
  };
}

/** Requests a rollback the first time that step `step` is made. */
function once(step: number): Callback {
  let isDone = false;
  return rollingBack((report) => {
    const isNow = !isDone && report.step === step;
    isDone ||= isNow;
    return isNow;
  });
}

/** The data without some batches of an epoch: what a run that never saw them reads. */
function without(source: BatchSource, epochOf: number, begin: number, end: number): BatchSource {
  return {
    ...source,
    epoch: (epoch, { skip = 0 } = {}) => {
      const batches = [...(source.epoch(epoch) as Iterable<never>)];
      return batches.filter((_, index) => epoch !== epochOf || index < begin || index >= end).slice(skip);
    },
  };
}

/**
 * Two workers. The other one, of rank 1, has the same numbers; once, after a step, its callbacks request something
 * else.
 */
function twoWorkers(requestsAfter: number | null, requests: object = { rollback: 'worker 1 asks' }): Workers {
  let isDone = false;
  return {
    ...singleWorker,
    count: 2,
    allReduce: (tensors) => new Map([...tensors].map(([name, tensor]) => [name, tensor.clone()])),
    gather: async (what, mine) => {
      const asks = !isDone && requestsAfter !== null && what === `the requests after step ${requestsAfter}`;
      isDone ||= asks;
      return [mine, asks ? { ...(mine as object), ...requests } : mine] as never;
    },
  };
}

interface End {
  readonly losses: readonly number[];
  readonly rates: readonly number[];
  readonly weights: Readonly<Record<string, number[]>>;
  readonly moments: Readonly<Record<string, number[]>>;
  readonly callbacks: Json;
}

/** Trains and returns the numbers that two equal runs share, bit for bit. Only the last report of a step counts. */
async function endOf(run: TrainRun): Promise<End> {
  const { reports } = await train(run);
  const moments: Record<string, number[]> = {};
  for (const [name, tensor] of run.optimizer.instance.saveState().tensors)
    moments[name] = Array.from(await tensor.data());
  const byStep = new Map(reports.map((report) => [report.step, report]));
  const end = {
    losses: [...byStep.values()].map(({ loss }) => loss),
    rates: [...byStep.values()].map(({ learningRate }) => learningRate),
    weights: await valuesOf(run.loaded.model),
    moments,
    callbacks: await run.hooks.saveState(),
  };
  disposeRun(run);
  return end;
}

/** A schedule that changes the rate in every step, and clipping, whose state counts the steps. */
function runOf(options: TestRunOptions): TrainRun {
  const clipping = createGradientClipping({ maxNorm: 0.5 });
  const run = testRun({ ...options, callbacks: [clipping, ...(options.callbacks ?? [])] });
  return { ...run, schedule: { plugin: 'falling', instance: () => (step) => 1 / (1 + step) } };
}

const strategies: Readonly<Record<string, () => Strategy>> = {
  full: () => fullStrategy(),
  'full with bfloat16 weights': () => fullStrategy({ weights: 'bfloat16' }),
  'lora with dropout': () => loraStrategy({ rank: 2, dropout: 0.3 }),
  'frozen-layers with gradual unfreezing': () => frozenLayersStrategy({ trainLastLayers: 2, unfreezeEverySteps: 2 }),
};

describe('a run with a rollback equals, bit for bit, a run that never saw the batches of the failed step', () => {
  const training = { maxSteps: 8 };
  it.each(Object.entries(strategies))('with the strategy %s', async (_, strategy) => {
    const rolled = await endOf(runOf({ strategy: strategy(), callbacks: [once(4)], training }));
    const straight = await endOf(
      runOf({ strategy: strategy(), trainData: without(shuffledSource(12, 2), 0, 3, 4), training }),
    );
    expect(rolled).toEqual(straight);
  });

  it('with gradient accumulation and a checkpoint to return to', async () => {
    const more = { ...training, gradientAccumulationSteps: 2, saveStrategy: 'steps', saveSteps: 1 } as const;
    const outputFolder = await temporaryFolder();
    const rolled = await endOf(runOf({ callbacks: [once(2)], training: more, outputFolder }));
    const data = without(shuffledSource(12, 2), 0, 2, 4);
    expect(rolled).toEqual(await endOf(runOf({ trainData: data, training: { ...more, saveStrategy: 'no' } })));
  });

  it('across an epoch, to a checkpoint of the previous one', async () => {
    const more = { ...training, saveStrategy: 'steps', saveSteps: 5 } as const;
    const outputFolder = await temporaryFolder();
    const rolled = await endOf(runOf({ callbacks: [once(8)], training: { ...more, maxSteps: 9 }, outputFolder }));
    const data = without(shuffledSource(12, 2), 1, 1, 2);
    expect(rolled).toEqual(
      await endOf(runOf({ trainData: data, training: { ...more, maxSteps: 9, saveStrategy: 'no' } })),
    );
  });

  it('requested by an evaluation at the end of an epoch', async () => {
    let isDone = false;
    const callback: Callback = {
      rollsBack: true,
      onEvaluate: ({ step }, control) => {
        if (step === 6 && !isDone) control.rollback('the evaluation is bad');
        isDone ||= step === 6;
      },
    };
    const more = { maxSteps: 8, evalStrategy: 'epoch', saveStrategy: 'steps', saveSteps: 3 } as const;
    const outputFolder = await temporaryFolder();
    const evalData = shuffledSource(4, 2, 9);
    const rolled = await endOf(runOf({ callbacks: [callback], evalData, training: more, outputFolder }));
    const data = without(shuffledSource(12, 2), 0, 5, 6);
    expect(rolled).toEqual(await endOf(runOf({ trainData: data, training: { maxSteps: 8 } })));
    // checkpoint-6 contained the failed step.
    expect((await readdir(outputFolder)).filter((name) => name.startsWith('checkpoint-')).toSorted()).toEqual([
      'checkpoint-3',
      'checkpoint-6',
      'checkpoint-8',
    ]);
    expect(await readdir(join(outputFolder, 'abandoned-1'))).toEqual(['checkpoint-6']);
  });

  it('with several workers, of which one asks', async () => {
    const callback: Callback = { rollsBack: true, onStep: () => undefined };
    const warnings: string[] = [];
    const warn = (message: string) => void warnings.push(message);
    const rolled = await endOf({
      ...runOf({ callbacks: [callback], training: { ...training, gradientAccumulationSteps: 2 }, warn }),
      workers: twoWorkers(2),
    });
    const data = without(shuffledSource(12, 2), 0, 2, 4);
    const straight = await endOf({
      ...runOf({ trainData: data, training: { ...training, gradientAccumulationSteps: 2 } }),
      workers: twoWorkers(null),
    });
    expect(rolled).toEqual(straight);
    expect(warnings).toEqual([expect.stringMatching(/rolled back from step 2 to step 0: worker 1 asks/)]);
  });
});

describe('the checkpoints of steps that a rollback undoes', () => {
  const training = { maxSteps: 6, saveStrategy: 'no' } as const;
  const names = async (folder: string): Promise<string[]> =>
    (await readdir(folder)).filter((name) => name.startsWith('checkpoint-')).toSorted();

  /** Saves checkpoints of steps 2 to 4, and is rolled back from step 5 to the state before step 3. */
  async function rolledBack(more: Partial<TrainRun['config']['training']> = {}): Promise<readonly [string, string[]]> {
    const folder = await temporaryFolder();
    const warnings: string[] = [];
    // The restore point is kept before the step that follows a checkpoint: after step 2 only.
    let isDone = false;
    const callback: Callback = {
      rollsBack: true,
      onStep: ({ step }, control) => {
        if (step === 2) control.save();
      },
      onEvaluate: ({ step }, control) => {
        if (step === 4 && !isDone) control.rollback('worse');
        isDone ||= step === 4;
      },
    };
    const run = testRun({
      callbacks: [callback],
      evalData: shuffledSource(4, 2, 9),
      training: { ...training, saveStrategy: 'steps', saveSteps: 4, evalStrategy: 'epoch', ...more },
      trainData: shuffledSource(8, 2),
      outputFolder: folder,
      warn: (message) => void warnings.push(message),
    });
    await train(run);
    disposeRun(run);
    return [folder, warnings];
  }

  it('are set aside and reported, and neither counted nor deleted by saveTotalLimit', async () => {
    const [folder, warnings] = await rolledBack({ saveTotalLimit: 1, maxSteps: 5 });
    expect(await names(folder)).toEqual(['checkpoint-5']);
    expect(await names(join(folder, 'abandoned-1'))).toEqual(['checkpoint-4']);
    expect(warnings).toEqual([
      expect.stringMatching(/^The run was rolled back from step 4 to step 2/),
      expect.stringMatching(/continues after step 2\. .* moved to .*abandoned-1 and are not used: checkpoint-4\./),
    ]);
  });

  it('do not have the checkpoints after the rollback in their history', async () => {
    const [folder] = await rolledBack({ maxSteps: 5, saveSteps: 1 });
    const abandoned = join(folder, 'abandoned-1');
    expect(await names(folder)).toEqual([
      'checkpoint-1',
      'checkpoint-2',
      'checkpoint-3',
      'checkpoint-4',
      'checkpoint-5',
    ]);
    expect(await names(abandoned)).toEqual(['checkpoint-4']);
    const back = testRun({
      outputFolder: folder,
      trainData: shuffledSource(8, 2),
      training: { ...training, maxSteps: 4, resumeFromCheckpoint: join(abandoned, 'checkpoint-4') },
    });
    await train(back);
    disposeRun(back);
    // Step 4 was made again after the rollback.
    expect(await names(folder)).toEqual(['checkpoint-1', 'checkpoint-2', 'checkpoint-3', 'checkpoint-4']);
    expect(await names(join(folder, 'abandoned-2'))).toEqual(['checkpoint-4', 'checkpoint-5']);
  });
});

describe('a rollback', () => {
  it('and a stop that another worker requests after the same step both happen', async () => {
    const callback: Callback = { rollsBack: true, onStep: () => undefined };
    const run: TrainRun = {
      ...runOf({ callbacks: [callback] }),
      workers: twoWorkers(2, { rollback: 'worker 1 asks', stop: 'worker 1 is done' }),
    };
    const { reports, report } = await train(run);
    expect(reports.map(({ step }) => step)).toEqual([1, 2]);
    expect([report.steps, report.stopReason]).toEqual([0, 'worker 1 is done']);
    disposeRun(run);
  });

  it('is in a warning and in the next report, and shortens a run of whole epochs', async () => {
    const warnings: string[] = [];
    const run = testRun({ callbacks: [once(3)], warn: (message) => void warnings.push(message) });
    const { reports, report } = await train(run);
    expect(warnings).toEqual([
      'The run was rolled back from step 3 to step 0: step 3 failed. The batches of step 3 are left out ' +
        '(rollback 1 of at most 3).',
    ]);
    expect(reports.map(({ step }) => step)).toEqual([1, 2, 3, 1, 2, 3, 4, 5]);
    expect(reports.map(({ rollback }) => rollback)).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7].map((index) => (index === 3 ? { reason: 'step 3 failed', fromStep: 3 } : undefined)),
    );
    expect(reports.map(({ totalSteps }) => totalSteps)).toEqual([6, 6, 6, 5, 5, 5, 5, 5]);
    expect(report.steps).toBe(5);
    disposeRun(run);
  });

  it('is stored in checkpoints: a resumed run leaves out the same batches and continues exactly', async () => {
    const outputFolder = await temporaryFolder();
    const training = { maxSteps: 10, saveStrategy: 'steps', saveSteps: 4 } as const;
    // Step 2 fails. Its batch is left out in a second epoch, too, whose position the resumed run has to find.
    const straight = await endOf(runOf({ callbacks: [once(2)], training }));
    const first = runOf({ callbacks: [once(2)], training: { ...training, maxSteps: 4 }, outputFolder });
    await train(first);
    disposeRun(first);
    const idle = { ...once(1), onStep: () => undefined };
    const resumed = await endOf(
      runOf({ callbacks: [idle], training: { ...training, resumeFromCheckpoint: true }, outputFolder }),
    );
    expect(resumed.weights).toEqual(straight.weights);
    expect(resumed.moments).toEqual(straight.moments);
    expect(resumed.losses).toEqual(straight.losses.slice(4));
  });

  it('leaves out batches before the position of a resumed run', async () => {
    const outputFolder = await temporaryFolder();
    const training = { maxSteps: 8, saveStrategy: 'steps', saveSteps: 1 } as const;
    const straight = await endOf(runOf({ callbacks: [once(3)], training: { maxSteps: 8 } }));
    const first = runOf({ callbacks: [once(3)], training: { ...training, maxSteps: 3 }, outputFolder });
    await train(first);
    disposeRun(first);
    const resumed = await endOf(
      runOf({ callbacks: [], training: { ...training, resumeFromCheckpoint: true }, outputFolder }),
    );
    expect(resumed.weights).toEqual(straight.weights);
    expect(resumed.moments).toEqual(straight.moments);
  });

  it('returns a worker that writes nothing to the checkpoint that another worker wrote', async () => {
    const run = testRun({ callbacks: [once(3)], training: { maxSteps: 4, saveStrategy: 'steps', saveSteps: 2 } });
    const output = { folder: '/written/by/worker-0', overwrite: false };
    const { reports } = await train({ ...run, config: { ...run.config, output } });
    expect(reports.map(({ step }) => step)).toEqual([1, 2, 3, 3, 4]);
    disposeRun(run);
  });

  it('fails after training.maxRollbacks of them', async () => {
    for (const maxRollbacks of [0, 1, 3]) {
      const warnings: string[] = [];
      const run = testRun({
        callbacks: [rollingBack(({ step }) => step === 2)],
        training: { maxRollbacks },
        warn: (message) => void warnings.push(message),
      });
      await expect(train(run)).rejects.toMatchObject({
        code: 'ROLLBACK_LIMIT',
        message:
          'A callback requested a rollback after step 2, but the run was already rolled back ' +
          `${maxRollbacks} times.`,
        found: 'step 2 failed',
      });
      expect(warnings).toHaveLength(maxRollbacks);
      disposeRun(run);
    }
  });

  it('keeps a learning rate that is set after the same step', async () => {
    let isDone = false;
    const callback: Callback = {
      rollsBack: true,
      onStep: ({ step }, control) => {
        if (step !== 2 || isDone) return;
        isDone = true;
        control.rollback('too fast');
        control.setLearningRate(0.001, 'slower');
      },
    };
    const run = testRun({ callbacks: [callback] });
    const { reports } = await train(run);
    expect(reports.map(({ learningRate }) => learningRate)).toEqual([0.01, 0.01, 0.001, 0.001, 0.001, 0.001, 0.001]);
    disposeRun(run);
  });

  it('restores the best weights that a run without an output folder keeps', async () => {
    // The weights of step 1 are the best. Step 3 marks its weights and is rolled back.
    const marking: Callback = {
      onStep: ({ step }, control) => {
        if (step === 1) control.markBest();
      },
    };
    const best = testRun({ callbacks: [marking], training: { maxSteps: 4 } });
    await train(best);
    const rolled = testRun({ callbacks: [marking, once(3)], training: { maxSteps: 4 } });
    await train(rolled);
    expect(await valuesOf(rolled.loaded.model)).toEqual(await valuesOf(best.loaded.model));
    for (const run of [best, rolled]) disposeRun(run);
  });

  it('before the first step is refused', async () => {
    const callback: Callback = { rollsBack: true, onEvaluate: (_, control) => control.rollback('bad model') };
    const run = testRun({
      callbacks: [callback],
      evalData: shuffledSource(4, 2, 9),
      training: { evalStrategy: 'ends' },
    });
    await expect(train(run)).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      message:
        'A callback requested a rollback at step 0, but no step was made since the run started or was rolled back.',
    });
    disposeRun(run);
  });

  it('keeps nothing if no callback can ask for it, and leaks no tensor', async () => {
    const before = tf.memory().numTensors;
    let saves = 0;
    const counting = (rollsBack: boolean): Callback => ({
      ...(rollsBack ? { rollsBack } : {}),
      onStep: () => undefined,
      saveState: () => ++saves,
      loadState: () => undefined,
    });
    const plain = testRun({ callbacks: [counting(false)] });
    await train(plain);
    expect(saves).toBe(0);
    disposeRun(plain);
    const rolled = testRun({ callbacks: [counting(true), once(3)] });
    await train(rolled);
    expect(saves).toBe(1);
    disposeRun(rolled);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('control.setLearningRate', () => {
  const slowing = (step: number): Callback => ({
    onStep: (report, control) => {
      if (report.step === step) control.setLearningRate(0.002, `step ${step} is slow`);
    },
  });

  it('replaces rate and schedule from the next step on, and is in the reports', async () => {
    const run = runOf({ callbacks: [slowing(2)], training: { maxSteps: 5 } });
    const { reports } = await train(run);
    expect(reports.map(({ learningRate }) => learningRate)).toEqual([0.01, 0.01 * (1 / 2), 0.002, 0.002, 0.002]);
    expect(reports.map(({ learningRateReason }) => learningRateReason)).toEqual([
      undefined,
      undefined,
      'step 2 is slow',
      'step 2 is slow',
      'step 2 is slow',
    ]);
    disposeRun(run);
  });

  it('is stored in checkpoints: a resumed run continues exactly', async () => {
    const outputFolder = await temporaryFolder();
    const training = { maxSteps: 6, saveStrategy: 'steps', saveSteps: 2 } as const;
    const straight = await endOf(runOf({ callbacks: [slowing(2)], training }));
    const first = runOf({ callbacks: [slowing(2)], training: { ...training, maxSteps: 2 }, outputFolder });
    await train(first);
    disposeRun(first);
    const resumed = await endOf(
      runOf({ callbacks: [slowing(99)], training: { ...training, resumeFromCheckpoint: true }, outputFolder }),
    );
    expect(resumed.rates).toEqual([0.002, 0.002, 0.002, 0.002]);
    expect(resumed.weights).toEqual(straight.weights);
  });

  it('in onEvaluate is part of the checkpoint of the same step', async () => {
    const outputFolder = await temporaryFolder();
    const training = { maxSteps: 4, evalStrategy: 'steps', evalSteps: 2, saveStrategy: 'steps', saveSteps: 2 } as const;
    const evalData = shuffledSource(4, 2, 9);
    const callback: Callback = { onEvaluate: (_, control) => control.setLearningRate(0, 'flat') };
    const first = testRun({ callbacks: [callback], evalData, training: { ...training, maxSteps: 2 }, outputFolder });
    await train(first);
    disposeRun(first);
    const resumed = testRun({ evalData, training: { ...training, resumeFromCheckpoint: true }, outputFolder });
    const { reports } = await train(resumed);
    expect(reports.map(({ learningRate }) => learningRate)).toEqual([0, 0]);
    disposeRun(resumed);
  });
});
