import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTraining, type TrainRun } from '@whetstone/core/training';
import type { Callback } from '@whetstone/core/contract';
import { createMetricsLog } from '../../packages/plugins/src/metrics-jsonl.js';
import { createTensorBoardLog } from '../../packages/plugins/src/tensorboard/tensorboard.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

const warnings: string[] = [];

/**
 * Trains six rows in batches of two, three steps per epoch, with both log files. Ends after `steps` steps as if it were
 * killed: without a further checkpoint.
 */
async function trainTo(
  steps: number,
  outputFolder: string,
  training: Partial<TrainRun['config']['training']>,
  callbacks: readonly Callback[] = [],
): Promise<void> {
  const run = testRun({
    trainData: shuffledSource(6, 2),
    evalData: shuffledSource(4, 2, 9),
    outputFolder,
    callbacks: [
      createMetricsLog(outputFolder, 'metrics.jsonl', (message) => warnings.push(message)),
      createTensorBoardLog(outputFolder),
      ...callbacks,
    ],
    training: { numTrainEpochs: 2, saveStrategy: 'steps', ...training },
  });
  try {
    for await (const { step } of runTraining(run)) if (step === steps) break;
  } finally {
    disposeRun(run);
  }
}

/** Returns the lines of metrics.jsonl without what differs from run to run. */
async function linesOf(folder: string): Promise<string[]> {
  const text = await readFile(join(folder, 'metrics.jsonl'), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const { type, step, loss } = JSON.parse(line) as Readonly<Record<string, unknown>>;
      return `${String(type)} ${String(step)} ${String(loss)}`;
    });
}

/** Returns how often a tag is in the files that TensorBoard reads. */
async function countInEvents(tag: string, folder: string): Promise<number> {
  const names = (await readdir(folder)).filter((name) => name.includes('tfevents'));
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'latin1')));
  return texts.join('').split(tag).length - 1;
}

describe('the logs of a run that was killed and resumed have the lines of an unbroken run', () => {
  it.each([
    ['after the evaluation of an epoch that a save step ended', { saveSteps: 3, evalStrategy: 'epoch' }, [3, 4]],
    ['after an evaluation that follows the checkpoint of the same step', { saveSteps: 1, evalStrategy: 'epoch' }, [3]],
    ['in the middle of an epoch, twice', { saveSteps: 2, evalStrategy: 'steps', evalSteps: 2 }, [3, 5]],
  ] as const)('%s', async (_, training, kills) => {
    const whole = await temporaryFolder();
    await trainTo(Infinity, whole, training);
    const folder = await temporaryFolder();
    for (const [index, kill] of kills.entries())
      await trainTo(kill, folder, { ...training, resumeFromCheckpoint: index > 0 });
    await trainTo(Infinity, folder, { ...training, resumeFromCheckpoint: true });
    expect(await linesOf(folder)).toEqual(await linesOf(whole));
    expect(await countInEvents('eval/loss', folder)).toBe(await countInEvents('eval/loss', whole));
    expect(await countInEvents('train/loss', folder)).toBe(await countInEvents('train/loss', whole));
    expect(warnings).toEqual([]);
  });

  it('before its first checkpoint: TensorBoard discards all events that precede the start', async () => {
    const training = { saveSteps: 4, evalStrategy: 'ends' } as const;
    const whole = await temporaryFolder();
    await trainTo(Infinity, whole, training);
    const folder = await temporaryFolder();
    await trainTo(2, folder, training);
    await trainTo(Infinity, folder, { ...training, resumeFromCheckpoint: true });
    expect(await linesOf(folder)).toEqual(await linesOf(whole));
    const last =
      (await readdir(folder))
        .filter((name) => name.includes('tfevents'))
        .toSorted()
        .at(-1) ?? '';
    // tensorflow.Event: step (field 2) 0, session_log (field 7) with status (field 1) START = 1.
    const start = Buffer.from([0x10, 0, 0x3a, 2, 0x08, 1]);
    expect((await readFile(join(folder, last))).includes(start)).toBe(true);
  });

  it('of a logger that was interrupted in an evaluation, which the resumed run makes again', async () => {
    const whole = await temporaryFolder();
    const training = { saveSteps: 2, evalStrategy: 'steps', evalSteps: 2 } as const;
    await trainTo(Infinity, whole, training);
    const folder = await temporaryFolder();
    const failing: Callback = {
      onEvaluate: ({ step }) => {
        if (step === 4) throw new Error('killed');
      },
    };
    await expect(trainTo(Infinity, folder, training, [failing])).rejects.toThrow('killed');
    await trainTo(Infinity, folder, { ...training, resumeFromCheckpoint: true });
    expect(await linesOf(folder)).toEqual(await linesOf(whole));
  });
});
