import type { Template } from './template.js';

export const optimizer: Template = {
  description: 'Moves each parameter by the learning rate, against the sign of its gradient.',
  configuration: (use) => ({ optimizer: { use, learningRate: 0.0001, weightDecay: 0.01 } }),
  source: ({ name, description }) => `import { mul, sign, sub, tidy } from '@tensorflow/tfjs-core';
import { definePlugin } from '@whetstone/core/contract';

export default definePlugin({
  apiVersion: 2,
  kind: 'optimizer',
  name: '${name}',
  version: '0.1.0',
  description: '${description}',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      weightDecay: { type: 'number', minimum: 0, default: 0, description: 'Decay of the weights, as in AdamW.' },
    },
  },
  create: ({ weightDecay }) => ({
    apply: (parameters, gradients, step) => {
      for (const [parameterName, parameter] of parameters) {
        const gradient = gradients.get(parameterName);
        if (gradient === undefined) continue;
        const rate = step.learningRate * step.learningRateScale(parameterName);
        const kept = step.decays(parameterName) ? 1 - rate * weightDecay : 1;
        const moved = tidy(() => sub(mul(parameter, kept), mul(sign(gradient), rate)));
        parameter.assign(moved);
        moved.dispose();
      }
    },
    // An optimizer with moments returns them here, by the names of the parameters.
    saveState: () => ({ tensors: new Map(), values: null }),
    loadState: () => {},
    dispose: () => {},
  }),
});
`,
  test: () => `import '@tensorflow/tfjs-backend-cpu';
import { memory, setBackend, tensor, variable } from '@tensorflow/tfjs-core';
import { createFrom } from '@whetstone/testing';
import { beforeAll, expect, it } from 'vitest';
import plugin from './index.js';

beforeAll(() => setBackend('cpu'));

it('makes the steps that its formula gives, and keeps no tensors', async () => {
  const optimizer = await createFrom(plugin, { weightDecay: 0.5 });
  const parameters = new Map([
    ['weight', variable(tensor([1, -2, 3]))],
    ['bias', variable(tensor([1]))],
  ]);
  const gradients = new Map([
    ['weight', tensor([4, -5, 0])],
    ['bias', tensor([-1])],
  ]);
  const before = memory().numTensors;
  optimizer.apply(parameters, gradients, {
    update: 1,
    learningRate: 0.25,
    learningRateScale: () => 1,
    decays: (name) => name === 'weight',
  });
  expect(memory().numTensors).toBe(before);
  // weight · (1 − 0.25 · 0.5) − 0.25 · sign(gradient); the bias does not decay.
  expect([...(parameters.get('weight')?.dataSync() ?? [])]).toEqual([0.625, -1.5, 2.625]);
  expect([...(parameters.get('bias')?.dataSync() ?? [])]).toEqual([1.25]);
  optimizer.dispose();
});

it('refuses a negative decay', async () => {
  await expect(createFrom(plugin, { weightDecay: -1 })).rejects.toThrow(/weightDecay/);
});
`,
};
