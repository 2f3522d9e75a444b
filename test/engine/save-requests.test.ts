import { readdir } from 'node:fs/promises';
import type { Callback, Workers } from '@whetstone/core/contract';
import { singleWorker } from '@whetstone/core/distributed';
import type { TrainRun } from '@whetstone/core/training';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train, valuesOf } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

interface Outcome {
  readonly saved: readonly number[];
  readonly weights: Readonly<Record<string, number[]>>;
  readonly warnings: readonly string[];
}

/** Trains six steps. The application requests a checkpoint before the first step, or during the steps of `at`. */
async function trainWith(
  at: readonly (number | 'start')[],
  more: Partial<TrainRun> = {},
  outputFolder: string | null = null,
): Promise<Outcome> {
  const saves = { requested: 0, fulfilled: 0 };
  const saved: number[] = [];
  const warnings: string[] = [];
  const request = (when: number | 'start'): void => {
    saves.requested += at.filter((each) => each === when).length;
  };
  const callback: Callback = {
    onRunStart: () => request('start'),
    onStepStart: (step) => request(step),
    onSave: ({ step }) => void saved.push(step),
  };
  const run = testRun({
    outputFolder,
    trainData: shuffledSource(12, 2),
    callbacks: [callback],
    warn: (message) => void warnings.push(message),
  });
  await train({ ...run, saves, ...more });
  const outcome = { saved, weights: await valuesOf(run.loaded.model), warnings };
  disposeRun(run);
  return outcome;
}

describe('a checkpoint that the application requests', () => {
  it('is written after the step, and the run continues bit for bit', async () => {
    const folder = await temporaryFolder();
    const plain = await trainWith([]);
    const { saved, weights } = await trainWith([2, 2, 5], {}, folder);
    // Two requests in a step are one checkpoint.
    expect(saved).toEqual([2, 5]);
    expect((await readdir(folder)).filter((name) => name.startsWith('checkpoint-')).toSorted()).toEqual([
      'checkpoint-2',
      'checkpoint-5',
    ]);
    expect(weights).toEqual(plain.weights);
  });

  it('before the first step is written after it', async () => {
    expect((await trainWith(['start'], {}, await temporaryFolder())).saved).toEqual([1]);
  });

  it('without an output folder is reported', async () => {
    const { saved, warnings } = await trainWith([3]);
    expect(saved).toEqual([]);
    expect(warnings).toEqual(['A checkpoint was requested, but the run has no output folder.']);
  });

  it('is written once if a signal reaches several workers one after another', async () => {
    // Worker 1 gets the signal one step after this one.
    const workers: Workers = {
      ...singleWorker,
      count: 2,
      allReduce: (tensors) => new Map([...tensors].map(([name, tensor]) => [name, tensor.clone()])),
      gather: async (what, mine) => {
        const step = Number(/whether to continue after step (\d+)/.exec(what)?.[1] ?? NaN);
        return [mine, Number.isNaN(step) ? mine : { ...(mine as object), saves: step >= 3 ? 1 : 0 }] as never;
      },
    };
    expect((await trainWith([2], { workers }, await temporaryFolder())).saved).toEqual([2]);
    // Only worker 1 gets it.
    expect((await trainWith([], { workers }, await temporaryFolder())).saved).toEqual([3]);
  });
});
