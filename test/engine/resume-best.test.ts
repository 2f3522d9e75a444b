import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Callback } from '@whetstone/core/contract';
import { beforeAll, expect, it } from 'vitest';
import { useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train, type TestRunOptions } from '../support/training.js';

beforeAll(async () => void (await useBackend('cpu')));

/** Evaluates after each of `maxSteps` steps. Returns the best weights in the last checkpoint, and the warnings. */
async function bestOf(
  outputFolder: string,
  maxSteps: number,
  training: TestRunOptions['training'],
  more: TestRunOptions = {},
): Promise<{ readonly best: unknown; readonly warnings: readonly string[] }> {
  const warnings: string[] = [];
  const run = testRun({
    evalData: shuffledSource(4, 2, 9),
    outputFolder,
    warn: (message) => void warnings.push(message),
    ...more,
    training: { maxSteps, evalStrategy: 'steps', evalSteps: 1, saveStrategy: 'steps', saveSteps: 1, ...training },
  });
  await train(run);
  disposeRun(run);
  const file = join(outputFolder, `checkpoint-${maxSteps}`, 'trainer_state.json');
  const state = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  return { best: state['best_global_step'], warnings: warnings.filter((text) => /best weights/.test(text)) };
}

const otherData = { ...shuffledSource(4, 2, 10), summary: { ...shuffledSource(4, 2).summary, contentHash: 'other' } };
const byLoss = { loadBestModelAtEnd: true, metricForBestModel: 'loss' };
const resumed = { resumeFromCheckpoint: true };
const marking: Callback = {
  requests: ['markBest'],
  onEvaluate: ({ step }, control) => void (step === 1 && control.markBest()),
};

it.each([
  // A perplexity is larger than its loss, so it would never be better than the loss of an earlier step.
  ['the metric', { ...byLoss, metricForBestModel: 'perplexity' }, {}, 3, /metricForBestModel was "loss"/],
  ['its direction', { ...byLoss, greaterIsBetter: true }, {}, 3, /greaterIsBetter was false and is true/],
  ['loadBestModelAtEnd', {}, {}, null, /loadBestModelAtEnd was true and is false/],
  ['the evaluation data', byLoss, { evalData: otherData }, 3, /the evaluation data was /],
] as const)(
  'a run that resumes with a change of %s drops the best weights',
  async (_, training, more, best, warning) => {
    const folder = await temporaryFolder();
    // The loss of random rows that are not trained increases.
    expect(await bestOf(folder, 2, byLoss)).toEqual({ best: 1, warnings: [] });
    const after = await bestOf(folder, 3, { ...training, ...resumed }, more);
    expect(after.best).toBe(best);
    expect(after.warnings).toEqual([expect.stringMatching(warning)]);
  },
);

it('a run that resumes with the same metric under another name keeps the best weights', async () => {
  const folder = await temporaryFolder();
  await bestOf(folder, 2, byLoss);
  const same = { ...byLoss, metricForBestModel: 'eval_loss', greaterIsBetter: false, ...resumed };
  expect(await bestOf(folder, 3, same)).toEqual({ best: 1, warnings: [] });
});

it('a run that resumes without loadBestModelAtEnd keeps what a callback marked', async () => {
  const folder = await temporaryFolder();
  const more = { callbacks: [marking] };
  expect(await bestOf(folder, 2, {}, more)).toEqual({ best: 1, warnings: [] });
  const options = { ...more, evalData: otherData };
  expect(await bestOf(folder, 3, resumed, options)).toEqual({ best: 1, warnings: [] });
});
