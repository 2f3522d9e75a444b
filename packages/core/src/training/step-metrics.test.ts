import '@tensorflow/tfjs-backend-cpu';
import { memory, scalar, setBackend, tidy } from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { createStepMetrics } from './step-metrics.js';

beforeAll(async () => {
  await setBackend('cpu');
});

it('reads recorded metrics with other scalars, later ones at the end, and averages repeated names', async () => {
  const before = memory().numTensors;
  const metrics = createStepMetrics();
  const loss = scalar(5);
  tidy(() => metrics.record('norm', scalar(3)));
  metrics.record('rate', 1);
  expect([...(await metrics.readWith([loss]))]).toEqual([5]);
  tidy(() => metrics.record('norm', scalar(6)));
  metrics.record('rate', 2);
  expect(await metrics.read()).toEqual({ norm: 4.5, rate: 1.5 });
  loss.dispose();
  expect(memory().numTensors).toBe(before);
});
