import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { folderCheckpoints } from '@whetstone/core/checkpoint';
import type { Callback } from '@whetstone/core/contract';
import type { TrainRun } from '@whetstone/core/training';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

interface Settings {
  readonly batchSize?: number;
  readonly training?: Partial<TrainRun['config']['training']>;
  readonly learningRate?: number;
  /** Changes the run after it is composed. */
  readonly change?: (run: TrainRun) => TrainRun;
}

interface Outcome {
  /** The rows that were trained, in order. */
  readonly rows: readonly string[];
  readonly epochs: readonly number[];
  readonly rates: readonly number[];
  readonly warnings: readonly string[];
}

/** Trains twelve rows for two epochs, with a rate that falls linearly to 0. Interrupted after step 3 with `stop`. */
async function trainWith(
  { batchSize = 2, training, learningRate, change = (run) => run }: Settings,
  outputFolder: string,
  stop = false,
): Promise<Outcome> {
  const rows: string[] = [];
  const warnings: string[] = [];
  const controller = new AbortController();
  const observer: Callback = {
    transformBatch: (batch) => {
      for (let row = 0; row < batch.rows; row++) {
        const [begin, end] = [row * batch.length, (row + 1) * batch.length];
        rows.push(
          [...batch.ids.subarray(begin, end)].filter((_, index) => batch.segmentIds[begin + index] !== 0).join(),
        );
      }
      return batch;
    },
    onStep: ({ step }) => void (stop && step === 3 && controller.abort(new Error('SIGINT'))),
  };
  const run = testRun({
    trainData: shuffledSource(12, batchSize),
    outputFolder,
    ...(learningRate === undefined ? {} : { learningRate }),
    callbacks: [observer],
    signal: controller.signal,
    warn: (message) => void warnings.push(message),
    training: {
      numTrainEpochs: 2,
      perDeviceTrainBatchSize: batchSize,
      resumeFromCheckpoint: stop ? null : true,
      ...training,
    },
  });
  const linear = {
    plugin: 'linear',
    instance:
      ({ totalSteps }: { readonly totalSteps: number }) =>
      (step: number) =>
        1 - step / totalSteps,
  };
  try {
    const training = train(change({ ...run, schedule: linear }));
    if (stop) {
      await expect(training).rejects.toMatchObject({ code: 'INTERRUPTED' });
      return { rows, epochs: [], rates: [], warnings };
    }
    const { reports } = await training;
    return {
      rows,
      epochs: reports.map(({ epoch }) => epoch),
      rates: reports.map(({ learningRate: rate }) => rate),
      warnings,
    };
  } finally {
    disposeRun(run);
  }
}

/** Interrupts a run after step 3, and resumes it with other settings. */
async function resumeWith(settings: Settings): Promise<{ readonly before: Outcome; readonly after: Outcome }> {
  const folder = await temporaryFolder();
  const before = await trainWith({}, folder, true);
  return { before, after: await trainWith(settings, folder) };
}

const changeConfig =
  (edit: (config: TrainRun['config']) => object) =>
  (run: TrainRun): TrainRun => ({ ...run, config: { ...run.config, ...edit(run.config) } });

describe('a run that resumes with another batch size', () => {
  it('continues at the same sample, ends at the same epoch, and says that it is no longer exact', async () => {
    const uninterrupted = await trainWith({}, await temporaryFolder());
    const { before, after } = await resumeWith({ batchSize: 4 });
    expect(before.rows).toHaveLength(6);
    expect([...before.rows, ...after.rows]).toEqual(uninterrupted.rows);
    // Of the three batches of the first epoch, rows 7 and 8 are left of the second, and the third.
    expect(after.epochs).toEqual([2 / 3, 1, 4 / 3, 5 / 3, 2].map((epoch) => expect.closeTo(epoch, 10) as number));
    // The rate follows the samples: it is that of a run with this batch size, from its second step of six on.
    expect(after.rates.map((rate) => rate / 0.01)).toEqual(
      [1, 2, 3, 4, 5].map((step) => expect.closeTo(1 - step / 6, 10)),
    );
    expect(after.warnings).toEqual([
      expect.stringMatching(/same sample.*bit for bit.*training\.perDeviceTrainBatchSize was 2 and is 4/),
    ]);
  });

  it('continues at the same sample from a checkpoint of an earlier version, without the sizes', async () => {
    const folder = await temporaryFolder();
    const uninterrupted = await trainWith({}, await temporaryFolder());
    const before = await trainWith({}, folder, true);
    const file = join(folder, 'checkpoint-3', 'whetstone_state.json');
    const state = JSON.parse(await readFile(file, 'utf8')) as { run: Record<string, unknown>; identity: object };
    for (const key of ['sizes', 'consumed', 'stepShift', 'attempts', 'owed']) Reflect.deleteProperty(state.run, key);
    Reflect.deleteProperty(state.identity, 'execution');
    await writeFile(file, JSON.stringify(state));
    // The changed file no longer has the hash of the manifest.
    const checkpoints = { ...folderCheckpoints, find: async () => join(folder, 'checkpoint-3') };
    const after = await trainWith({ batchSize: 3, change: (run) => ({ ...run, checkpoints }) }, folder);
    expect([...before.rows, ...after.rows]).toEqual(uninterrupted.rows);
    expect(after.epochs.at(-1)).toBe(2);
  });

  it('is refused if the data source cannot continue in the middle of an epoch', async () => {
    const { batchesLeft: _, ...plain } = shuffledSource(12, 4);
    await expect(resumeWith({ batchSize: 4, change: (run) => ({ ...run, trainData: plain }) })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      hint: expect.stringContaining('batch size of the checkpoint') as string,
    });
  });
});

it('a run that resumes with another accumulation ends at the same epoch', async () => {
  const uninterrupted = await trainWith({}, await temporaryFolder());
  const { before, after } = await resumeWith({ training: { gradientAccumulationSteps: 2 } });
  expect([...before.rows, ...after.rows]).toEqual(uninterrupted.rows);
  expect(after.epochs).toEqual([5 / 6, 1, 4 / 3, 5 / 3, 2].map((epoch) => expect.closeTo(epoch, 10) as number));
  expect(after.warnings).toEqual([expect.stringContaining('training.gradientAccumulationSteps was 1 and is 2')]);
});

it('learning rate, epochs, evaluation and logging change without a word', async () => {
  const { after } = await resumeWith({
    learningRate: 0.5,
    training: { numTrainEpochs: 3, loggingSteps: 2, saveSteps: 7, evalSteps: 3 },
  });
  expect(after.warnings).toEqual([]);
  expect(after.epochs.at(-1)).toBe(3);
});

it('another engine is reported', async () => {
  const { after } = await resumeWith({ change: (run) => ({ ...run, backend: { ...run.backend, engine: 'other' } }) });
  expect(after.warnings).toEqual([expect.stringContaining('the engine was cpu and is other')]);
});

describe('a run that would train on other samples', () => {
  const cases: Readonly<Record<string, readonly [path: string, edit: (config: TrainRun['config']) => object]>> = {
    seed: ['training.seed', ({ training }) => ({ training: { ...training, seed: 7 } })],
    packing: ['data.packing', ({ data }) => ({ data: { ...data, packing: true } })],
    length: ['data.maxLength', ({ data }) => ({ data: { ...data, maxLength: 9 } })],
    data: ['data.lastTurnOnly', ({ data }) => ({ data: { ...data, lastTurnOnly: true } })],
  };

  it.each(Object.keys(cases))('is refused by name, unless resumeDespite allows it: %s', async (name) => {
    const [path, edit] = cases[name] ?? ['', () => ({})];
    const folder = await temporaryFolder();
    await trainWith({}, folder, true);
    await expect(trainWith({ change: changeConfig(edit) }, folder)).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      message: expect.stringContaining(path) as string,
      problems: expect.arrayContaining([expect.objectContaining({ place: { path } })]) as object[],
      hint: expect.stringContaining(`training.resumeDespite to ["${name}"]`) as string,
    });
    const allowing = changeConfig((config) => {
      const edited = { ...config, ...edit(config) };
      return { ...edited, training: { ...edited.training, resumeDespite: [name] } };
    });
    const allowed = await trainWith({ change: allowing }, folder);
    expect(allowed.warnings).toEqual([expect.stringContaining(path)]);
  });
});

it('other options of the strategy are refused, except for those that do not concern its tensors', async () => {
  const folder = await temporaryFolder();
  const withOptions = (options: object) => changeConfig(({ strategy }) => ({ strategy: { ...strategy, options } }));
  const withChangeable =
    (options: object) =>
    (run: TrainRun): TrainRun => ({
      ...withOptions(options)(run),
      owner: { ...run.owner, instance: { ...run.owner.instance, changeableOptions: ['dropout'] } },
    });
  await trainWith({ change: withOptions({ rank: 8, dropout: 0 }) }, folder, true);
  for (const resumeDespite of [[], ['data', 'template', 'seed', 'packing', 'length', 'stop']] as const)
    await expect(
      trainWith({ training: { resumeDespite }, change: withChangeable({ rank: 4, dropout: 0 }) }, folder),
    ).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      message: expect.stringContaining('strategy.options.rank') as string,
      problems: [expect.objectContaining({ expected: '8', found: '4' })],
    });
  const { warnings } = await trainWith({ change: withChangeable({ rank: 8, dropout: 0.5 }) }, folder);
  expect(warnings).toEqual([expect.stringContaining('strategy.options.dropout was 0 and is 0.5')]);
});
