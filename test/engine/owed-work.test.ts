import { readdir } from 'node:fs/promises';
import { runTraining, type TrainRun } from '@whetstone/core/training';
import type { Callback } from '@whetstone/core/contract';
import { createEarlyStopping } from '../../packages/plugins/src/early-stopping.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train, valuesOf } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

interface Case {
  readonly training: Partial<TrainRun['config']['training']>;
  readonly learningRate?: number;
  readonly callbacks?: () => readonly Callback[];
  /** Where the run is interrupted, as an entry of the log. */
  readonly at: string;
}

interface Outcome {
  readonly log: readonly string[];
  readonly weights: Readonly<Record<string, number[]>>;
  readonly stopReason: string | null | undefined;
}

/** Rolls the run back in the evaluation after step `step`, once. A resumed run gets the same callback. */
function rollingBackAt(step: number): () => readonly Callback[] {
  let isDone = false;
  const callback: Callback = {
    rollsBack: true,
    onRunStart: ({ startStep }) => {
      if (startStep === 0) isDone = false;
    },
    onEvaluate: (report, control) => {
      if (report.step !== step || isDone) return;
      isDone = true;
      control.rollback('the evaluation is bad');
    },
  };
  return () => [callback];
}

/** Trains six rows in batches of two, three steps per epoch. Logs what the callbacks are told. */
async function trainCase(
  { training, learningRate = 0.01, callbacks }: Case,
  outputFolder: string,
  { at = null, resume = false }: { readonly at?: string | null; readonly resume?: boolean } = {},
): Promise<Outcome> {
  const log: string[] = [];
  const controller = new AbortController();
  const note = (entry: string, value = ''): void => {
    log.push(`${entry} ${value}`);
    if (entry === at) controller.abort(new Error('SIGINT'));
  };
  const observer: Callback = {
    onEpochStart: (epoch) => note(`epoch ${epoch}`),
    onStep: ({ step, loss }) => note(`step ${step}`, String(loss)),
    onEvaluate: ({ step, loss }) => note(`evaluation ${step}`, String(loss)),
    onEpochEnd: (epoch) => note(`end of epoch ${epoch}`),
  };
  const run = testRun({
    trainData: shuffledSource(6, 2),
    evalData: shuffledSource(4, 2, 9),
    outputFolder,
    learningRate,
    signal: controller.signal,
    callbacks: [...(callbacks?.() ?? []), observer],
    training: { numTrainEpochs: 2, saveStrategy: 'no', resumeFromCheckpoint: resume, ...training },
  });
  try {
    if (at !== null) {
      await expect(train(run)).rejects.toMatchObject({ code: 'INTERRUPTED' });
      return { log, weights: {}, stopReason: undefined };
    }
    const { report } = await train(run);
    return { log, weights: await valuesOf(run.loaded.model), stopReason: report.stopReason };
  } finally {
    disposeRun(run);
  }
}

const checkpointsIn = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.startsWith('checkpoint-'));

const requesting = (): readonly Callback[] => [
  {
    onStep: ({ step }, control) => {
      if (step !== 4) return;
      control.evaluate();
      control.markBest();
      control.stop('enough');
    },
  },
];

const cases: Readonly<Record<string, Case>> = {
  'an evaluation that is due, which decides when early stopping ends the run': {
    training: { evalStrategy: 'steps', evalSteps: 1, saveStrategy: 'steps', saveSteps: 2, numTrainEpochs: 3 },
    // The loss of the evaluation rises at this rate, so that each evaluation counts.
    learningRate: 0.5,
    callbacks: () => [createEarlyStopping({ patience: 3, restoreBest: false })],
    at: 'step 2',
  },
  'the evaluation at the end of an epoch, which finds the best weights': {
    training: { evalStrategy: 'epoch', saveStrategy: 'epoch', loadBestModelAtEnd: true },
    learningRate: 0.5,
    at: 'end of epoch 0',
  },
  'the end of the last epoch': { training: { evalStrategy: 'epoch' }, at: 'step 6' },
  'the end of an epoch that maxSteps cuts short': { training: { maxSteps: 2 }, at: 'step 2' },
  'a rollback to the start, which the evaluation requests': {
    training: { evalStrategy: 'steps', evalSteps: 2 },
    callbacks: rollingBackAt(2),
    at: 'step 2',
  },
  'a rollback to the previous checkpoint, which the evaluation of an epoch requests': {
    training: { evalStrategy: 'epoch', saveStrategy: 'steps', saveSteps: 2 },
    callbacks: rollingBackAt(3),
    at: 'end of epoch 0',
  },
  'requests of callbacks': { training: {}, callbacks: requesting, at: 'step 4' },
  'requests of callbacks at the end of an epoch': {
    training: { evalStrategy: 'epoch', saveStrategy: 'epoch' },
    callbacks: () => [
      {
        onEpochEnd: (epoch, control) => {
          if (epoch > 0) return;
          control.evaluate();
          control.save();
        },
      },
    ],
    at: 'end of epoch 0',
  },
};

describe('what an interrupted run owes is done first when it resumes', () => {
  it.each(Object.keys(cases))('%s', async (name) => {
    const each = cases[name];
    if (each === undefined) throw new Error(name);
    const whole = await temporaryFolder();
    const uninterrupted = await trainCase(each, whole);
    const folder = await temporaryFolder();
    const first = await trainCase(each, folder, { at: each.at });
    const resumed = await trainCase(each, folder, { resume: true });
    expect([...first.log, ...resumed.log]).toEqual(uninterrupted.log);
    expect(resumed.weights).toEqual(uninterrupted.weights);
    expect(resumed.stopReason).toEqual(uninterrupted.stopReason);
    expect(await checkpointsIn(folder)).toEqual(expect.arrayContaining(await checkpointsIn(whole)));
  });

  it('the measurement of the weights that a callback marked as the best', async () => {
    const trainMarked = async (folder: string, options: { readonly abort?: boolean; readonly resume?: boolean }) => {
      const controller = new AbortController();
      const evalRows = shuffledSource(4, 2, 9);
      const run = testRun({
        trainData: shuffledSource(6, 2),
        evalData: {
          ...evalRows,
          epoch: (...from) => {
            if (options.abort === true) controller.abort();
            return evalRows.epoch(...from);
          },
        },
        outputFolder: folder,
        signal: controller.signal,
        callbacks: [
          {
            onStep: ({ step }, control) => {
              if (step === 2) control.markBest();
            },
          },
        ],
        training: { maxSteps: 3, resumeFromCheckpoint: options.resume ?? false },
      });
      try {
        const { report } = await train(run);
        return { loss: report.evalLossAfter, weights: await valuesOf(run.loaded.model) };
      } finally {
        disposeRun(run);
      }
    };
    const uninterrupted = await trainMarked(await temporaryFolder(), {});
    expect(uninterrupted.loss).toBeGreaterThan(0);
    const folder = await temporaryFolder();
    await expect(trainMarked(folder, { abort: true })).rejects.toMatchObject({
      code: 'INTERRUPTED',
      details: { step: 3, checkpoint: expect.stringContaining('checkpoint-3') as string },
    });
    expect(await trainMarked(folder, { resume: true })).toEqual(uninterrupted);
  });

  it('the evaluation before the first step: nothing is saved, so that the run starts with it again', async () => {
    const folder = await temporaryFolder();
    const controller = new AbortController();
    const run = testRun({
      evalData: shuffledSource(4, 2, 9),
      outputFolder: folder,
      signal: controller.signal,
      callbacks: [{ onEvaluate: () => controller.abort() }],
      training: { evalStrategy: 'ends' },
    });
    const steps: number[] = [];
    const training = async (): Promise<void> => {
      for await (const { step } of runTraining(run)) steps.push(step);
    };
    await expect(training()).rejects.toMatchObject({ code: 'INTERRUPTED', details: { step: 0, checkpoint: null } });
    expect(steps).toEqual([]);
    disposeRun(run);
  });
});

it('the report has no loss of final weights that were not evaluated', async () => {
  const callback: Callback = {
    onStep: ({ step }, control) => {
      if (step === 2) control.evaluate();
    },
  };
  const run = testRun({
    trainData: shuffledSource(6, 2),
    evalData: shuffledSource(4, 2, 9),
    callbacks: [callback],
    training: { maxSteps: 3 },
  });
  const { report } = await train(run);
  expect(report.evalLossAfter).toBeNull();
  disposeRun(run);
});

describe('a run that a callback had stopped', () => {
  const stopped: Case = { training: { saveStrategy: 'end' }, callbacks: requesting, at: '' };

  it('in onSave, after its checkpoint was written, ends when it is resumed, also if it was killed', async () => {
    const folder = await temporaryFolder();
    const each: Case = { training: { saveStrategy: 'steps', saveSteps: 2 }, at: '' };
    const run = testRun({
      trainData: shuffledSource(6, 2),
      outputFolder: folder,
      callbacks: [{ onSave: (_, control) => control.stop('saved') }],
      training: { numTrainEpochs: 2, ...each.training },
    });
    for await (const { step } of runTraining(run)) if (step === 2) break;
    disposeRun(run);
    const { log, stopReason } = await trainCase(each, folder, { resume: true });
    expect([log.filter((entry) => entry.startsWith('step')), stopReason]).toEqual([[], 'saved']);
  });

  it('ends again when it is resumed, unless resumeDespite allows to train on', async () => {
    const folder = await temporaryFolder();
    const first = await trainCase(stopped, folder);
    expect(first.stopReason).toBe('enough');
    const again = await trainCase(stopped, folder, { resume: true });
    expect(again).toEqual({ log: [], weights: first.weights, stopReason: 'enough' });
    const further = { ...stopped, training: { ...stopped.training, resumeDespite: ['stop'] } } as const;
    const { log, stopReason } = await trainCase(further, folder, { resume: true });
    expect(log.filter((entry) => entry.startsWith('step'))).toHaveLength(2);
    expect(stopReason).toBeNull();
  });
});
