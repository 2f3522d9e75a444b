import '@tensorflow/tfjs-backend-cpu';
import { memory, scalar, setBackend, tidy } from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { createStepMetrics } from './step-metrics.js';

beforeAll(async () => {
  await setBackend('cpu');
});

it('reads what was recorded beside other scalars, what came later at the end, and means of what came twice', async () => {
  const before = memory().numTensors;
  const metrics = createStepMetrics();
  const loss = scalar(5);
  tidy(() => metrics.record('norm', scalar(3)));
  metrics.record('rate', 1);
  expect([...(await metrics.readBeside([loss]))]).toEqual([5]);
  tidy(() => metrics.record('norm', scalar(6)));
  metrics.record('rate', 2);
  expect(await metrics.read()).toEqual({ norm: 4.5, rate: 1.5 });
  loss.dispose();
  expect(memory().numTensors).toBe(before);
});
