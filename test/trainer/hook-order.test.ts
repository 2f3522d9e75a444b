import '@tensorflow/tfjs-backend-cpu';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { hookTable, type Callback, type HookName } from '@whetstone/core/contract';
import { beforeAll, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';
import { tinyTrainer } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

/** A callback that records the calls of all hooks, and changes nothing. */
function recorder(calls: string[]): Callback {
  const hooks = Object.keys(hookTable) as HookName[];
  return Object.fromEntries(
    hooks.map((hook) => {
      const { kind } = hookTable[hook];
      return [
        hook,
        (value: unknown) => {
          calls.push(typeof value === 'number' ? `${hook} ${value}` : hook);
          return kind === 'transform' ? value : undefined;
        },
      ];
    }),
  ) as Callback;
}

/** Two epochs of two steps of three microbatches, with an evaluation and a checkpoint after each epoch. */
const run = {
  training: { numTrainEpochs: 2, gradientAccumulationSteps: 3, evalStrategy: 'epoch', saveStrategy: 'epoch' },
};

it('a run calls its hooks in this order', async () => {
  const calls: string[] = [];
  await tinyTrainer(
    { ...run, output: { folder: join(await temporaryFolder(), 'run') } },
    { callbacks: [recorder(calls)] },
  ).run();
  // All batches of a step are transformed before the first forward pass, because the step counts its targets first.
  const step = (number: number) => [
    `onStepStart ${number}`,
    'transformBatch',
    'transformBatch',
    'transformBatch',
    'transformLogits',
    'addLoss',
    'transformLogits',
    'addLoss',
    'transformLogits',
    'addLoss',
    'transformGradients',
    'onStep',
  ];
  const epoch = (number: number) => [
    `onEpochStart ${number}`,
    ...step(2 * number + 1),
    ...step(2 * number + 2),
    `onEpochEnd ${number}`,
    'onEvaluate',
    'onSave',
  ];
  expect(calls).toEqual(['onRunStart', ...epoch(0), ...epoch(1), 'onRunEnd']);
});

it('a run that fails calls onRunError instead of onRunEnd', async () => {
  const calls: string[] = [];
  const failing: Callback = {
    transformGradients: () => {
      throw new Error('no gradients');
    },
  };
  await expect(tinyTrainer({}, { callbacks: [recorder(calls), failing] }).run()).rejects.toThrow(/no gradients/);
  expect(calls).toEqual([
    'onRunStart',
    'onEpochStart 0',
    'onStepStart 1',
    'transformBatch',
    'transformLogits',
    'addLoss',
    'transformGradients',
    'onRunError',
  ]);
});

it('every hook of the table is called by some run', async () => {
  const calls: string[] = [];
  await tinyTrainer(
    { ...run, output: { folder: join(await temporaryFolder(), 'run') } },
    { callbacks: [recorder(calls)] },
  ).run();
  await tinyTrainer(
    {},
    {
      callbacks: [
        recorder(calls),
        {
          onStep: () => {
            throw new Error('enough');
          },
        },
      ],
    },
  )
    .run()
    .catch(() => undefined);
  expect(new Set(calls.map((call) => call.split(' ')[0]))).toEqual(new Set(Object.keys(hookTable)));
});
