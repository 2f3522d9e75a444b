import { cp, mkdir, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { folderCheckpoints, verifyCheckpoint } from '@whetstone/core/checkpoint';
import type { TrainRun } from '@whetstone/core/training';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train, valuesOf } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

const warnings: string[] = [];

/** Trains six rows in batches of two, with a checkpoint every two steps. Returns the numbers of its steps. */
async function trainTo(
  maxSteps: number,
  outputFolder: string,
  training: Partial<TrainRun['config']['training']> = {},
  learningRate = 0.01,
): Promise<{ readonly steps: number[]; readonly weights: Readonly<Record<string, number[]>> }> {
  warnings.length = 0;
  const run = testRun({
    trainData: shuffledSource(6, 2),
    evalData: shuffledSource(4, 2, 9),
    outputFolder,
    learningRate,
    warn: (message) => void warnings.push(message),
    training: { maxSteps, saveStrategy: 'steps', saveSteps: 2, ...training },
  });
  try {
    const steps = (await train(run)).reports.map(({ step }) => step);
    return { steps, weights: await valuesOf(run.loaded.model) };
  } finally {
    disposeRun(run);
  }
}

const checkpointsIn = async (folder: string): Promise<number[]> =>
  (await readdir(folder))
    .flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((one, other) => one - other);

/** Changes the state of the run in a checkpoint. */
async function changeRun(folder: string, edit: (run: Record<string, unknown>) => void): Promise<void> {
  const file = join(folder, 'whetstone_state.json');
  const state = JSON.parse(await readFile(file, 'utf8')) as { readonly run: Record<string, unknown> };
  edit(state.run);
  await writeFile(file, JSON.stringify(state));
}

const checkpoint = (folder: string, step: number): string => join(folder, `checkpoint-${step}`);

describe('a run that continues from an earlier checkpoint', () => {
  it('resumes later from its own newest checkpoint, not from that of the abandoned branch', async () => {
    const folder = await temporaryFolder();
    await trainTo(10, folder);
    const back = await trainTo(6, folder, { resumeFromCheckpoint: checkpoint(folder, 4) }, 0.05);
    expect(back.steps).toEqual([5, 6]);
    expect(await checkpointsIn(folder)).toEqual([2, 4, 6]);
    expect(await checkpointsIn(join(folder, 'abandoned-1'))).toEqual([6, 8, 10]);
    expect(warnings.join('\n')).toMatch(/after step 4.*abandoned-1.*checkpoint-10.*checkpoint-6/);

    const resumed = await trainTo(8, folder, { resumeFromCheckpoint: true }, 0.05);
    expect(resumed.steps).toEqual([7, 8]);
    expect(warnings.join('\n')).not.toContain('abandoned');

    // The same weights as a run that never had the abandoned branch.
    const clean = await temporaryFolder();
    await trainTo(4, clean);
    expect((await trainTo(8, clean, { resumeFromCheckpoint: true }, 0.05)).weights).toEqual(resumed.weights);
  });

  it('neither counts nor deletes abandoned checkpoints under saveTotalLimit', async () => {
    const folder = await temporaryFolder();
    await trainTo(8, folder);
    await trainTo(6, folder, { resumeFromCheckpoint: checkpoint(folder, 2), saveTotalLimit: 2 });
    expect(await checkpointsIn(folder)).toEqual([4, 6]);
    expect(await checkpointsIn(join(folder, 'abandoned-1'))).toEqual([4, 6, 8]);
    for (const step of [4, 6, 8]) await verifyCheckpoint(checkpoint(join(folder, 'abandoned-1'), step));
  });

  it('reports that the checkpoint is beyond the steps of the run', async () => {
    const folder = await temporaryFolder();
    await trainTo(4, folder);
    expect((await trainTo(3, folder, { resumeFromCheckpoint: true })).steps).toEqual([]);
    expect(warnings).toEqual([
      'The checkpoint was written after step 4, and this run has only 3 steps: no step follows.',
    ]);
    await trainTo(4, folder, { resumeFromCheckpoint: true });
    expect(warnings).toEqual([]);
  });

  it('numbers the abandoned branches', async () => {
    const folder = await temporaryFolder();
    await trainTo(4, folder);
    await trainTo(6, folder, { resumeFromCheckpoint: checkpoint(folder, 2) });
    await trainTo(4, folder, { resumeFromCheckpoint: checkpoint(folder, 2) });
    expect(await checkpointsIn(join(folder, 'abandoned-1'))).toEqual([4]);
    expect(await checkpointsIn(join(folder, 'abandoned-2'))).toEqual([4, 6]);
    expect(await checkpointsIn(folder)).toEqual([2, 4]);
  });

  it('can return to an abandoned branch: the checkpoints of the other branch are abandoned in turn', async () => {
    const folder = await temporaryFolder();
    await trainTo(6, folder);
    await trainTo(6, folder, { resumeFromCheckpoint: checkpoint(folder, 2) }, 0.05);
    const abandoned = join(folder, 'abandoned-1');
    const again = await trainTo(7, folder, { resumeFromCheckpoint: checkpoint(abandoned, 6), saveSteps: 5 });
    expect(again.steps).toEqual([7]);
    // Steps 4 and 6 of the second branch are not in the history of step 6 of the first.
    expect(await checkpointsIn(join(folder, 'abandoned-2'))).toEqual([4, 6]);
    expect(await checkpointsIn(folder)).toEqual([2, 6, 7]);
    expect(await checkpointsIn(abandoned)).toEqual([4, 6]);
    const straight = await temporaryFolder();
    expect((await trainTo(7, straight)).weights).toEqual(again.weights);
  });

  it('copies the best weights of the branch from which it continues', async () => {
    const folder = await temporaryFolder();
    await trainTo(6, folder);
    const abandoned = join(folder, 'abandoned-1');
    await mkdir(abandoned);
    for (const step of [4, 6]) await rename(checkpoint(folder, step), checkpoint(abandoned, step));
    await changeRun(checkpoint(abandoned, 6), (run) => Object.assign(run, { best: { step: 4, metric: 1, loss: 1 } }));
    await folderCheckpoints.continueFrom(checkpoint(abandoned, 6), folder, () => undefined);
    expect(await checkpointsIn(folder)).toEqual([2, 4, 6]);
    const weights = (root: string) => readFile(join(checkpoint(root, 4), 'model.safetensors'));
    expect(await weights(folder)).toEqual(await weights(abandoned));
    expect(await checkpointsIn(abandoned)).toEqual([4, 6]);
  });

  it('sets a damaged later checkpoint aside', async () => {
    const folder = await temporaryFolder();
    await trainTo(6, folder);
    await truncate(join(checkpoint(folder, 6), 'model.safetensors'), 10);
    expect((await trainTo(5, folder, { resumeFromCheckpoint: true })).steps).toEqual([5]);
    expect(await checkpointsIn(folder)).toEqual([2, 4, 5]);
    expect(await checkpointsIn(join(folder, 'abandoned-1'))).toEqual([6]);
  });

  it('treats checkpoints without attempts, of an earlier version, by their steps', async () => {
    const folder = await temporaryFolder();
    await trainTo(6, folder);
    for (const step of [2, 4, 6])
      await changeRun(checkpoint(folder, step), (run) => Reflect.deleteProperty(run, 'attempts'));
    await folderCheckpoints.continueFrom(checkpoint(folder, 4), folder, () => undefined);
    expect(await checkpointsIn(folder)).toEqual([2, 4]);
  });

  it('completes a move that was killed before it looks for a checkpoint', async () => {
    const folder = await temporaryFolder();
    await trainTo(6, folder);
    const names = ['checkpoint-6', 'checkpoint-4'];
    await writeFile(join(folder, '.abandoned.json'), JSON.stringify({ target: 'abandoned-1', names }));
    await cp(checkpoint(folder, 6), checkpoint(join(folder, 'abandoned-1'), 6), { recursive: true });
    await rm(checkpoint(folder, 6), { recursive: true });
    expect((await trainTo(3, folder, { resumeFromCheckpoint: true })).steps).toEqual([3]);
    expect(await checkpointsIn(join(folder, 'abandoned-1'))).toEqual([4, 6]);
    expect(await readdir(folder)).not.toContain('.abandoned.json');
  });
});
