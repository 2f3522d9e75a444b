import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { batchOf, batchSourceOf, randomRows } from '@whetstone/testing';
import { beforeAll, expect, it } from 'vitest';
import { evaluate } from '../../packages/core/src/training/evaluate.js';
import { rowLosses } from '../../packages/core/src/training/row-losses.js';
import { tinyLlama, tinyModel } from '../support/training.js';

beforeAll(() => tf.setBackend('cpu'));

it('the losses of rows equal evaluations of the single rows', async () => {
  const model = tinyModel();
  const rows = [...randomRows(5, tinyLlama.vocab_size, 4), { ids: [1, 2, 3], supervised: [false, false, false] }];
  const backend = { barrier: () => undefined };
  const losses = await rowLosses(model, batchOf(rows), backend);
  const alone = await Promise.all(
    rows
      .slice(0, 5)
      .map((row) =>
        evaluate(
          { model, data: batchSourceOf([row], 1), backend, clock: { now: () => 0, timestamp: () => '' } },
          { step: 0, epoch: 0 },
        ),
      ),
  );
  for (const [row, report] of alone.entries()) expect(losses[row]).toBeCloseTo(report?.loss ?? NaN, 5);
  expect(losses[5]).toBe(0);
  model.dispose();
});
