import type { Template } from './template.js';

export const schedule: Template = {
  description: 'Halves the learning rate several times in a run.',
  configuration: (use) => ({ schedule: { use, halvings: 3 } }),
  source: ({ name, description }) => `import { definePlugin } from '@whetstone/core/contract';

export default definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: '${name}',
  version: '0.1.0',
  description: '${description}',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      halvings: { type: 'integer', minimum: 0, default: 3, description: 'How many times the rate is halved.' },
    },
  },
  // Returns the factor of the learning rate for each step, counted from 0.
  create:
    ({ halvings }) =>
    ({ totalSteps }) =>
    (step) =>
      0.5 ** Math.floor(((halvings + 1) * step) / totalSteps),
});
`,
  test: () => `import { createFrom } from '@whetstone/testing';
import { expect, it } from 'vitest';
import plugin from './index.js';

it.each([
  [0, [1, 1, 1, 1, 1, 1]],
  [1, [1, 1, 1, 0.5, 0.5, 0.5]],
  [2, [1, 1, 0.5, 0.5, 0.25, 0.25]],
])('halves the rate %i times', async (halvings, factors) => {
  const schedule = await createFrom(plugin, { halvings });
  const factorOf = schedule({ totalSteps: factors.length, learningRate: 0.1 });
  expect(factors.map((_, step) => factorOf(step))).toEqual(factors);
});

it('refuses a negative number', async () => {
  await expect(createFrom(plugin, { halvings: -1 })).rejects.toThrow(/halvings/);
});
`,
};
