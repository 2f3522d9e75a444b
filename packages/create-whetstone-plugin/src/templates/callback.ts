import type { Template } from './template.js';

export const callback: Template = {
  description: 'Ends a run once the loss of several steps in a row is low enough.',
  configuration: (use) => ({ callbacks: [{ use, options: { loss: 0.5, steps: 3 } }] }),
  source: ({ name, description }) => `import { definePlugin } from '@whetstone/core/contract';

export default definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: '${name}',
  version: '0.1.0',
  description: '${description}',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['loss'],
    properties: {
      loss: { type: 'number', description: 'A loss of at most this is low enough.' },
      steps: { type: 'integer', minimum: 1, default: 3, description: 'Steps in a row before the run ends.' },
    },
  },
  // Read all options here: an option that is set and never read is an error.
  create: ({ loss: limit, steps }, { logger }) => {
    let reached = 0;
    return {
      onStep: ({ loss, step }, control) => {
        reached = loss <= limit ? reached + 1 : 0;
        if (reached === 0) return;
        logger.info('Step ' + step + ': the loss is low enough (' + reached + ' of ' + steps + ').');
        if (reached >= steps) control.stop('the loss was at most ' + limit + ' for ' + steps + ' steps');
      },
      // A resumed run continues to count from here.
      saveState: () => ({ reached }),
      loadState: (state) => {
        ({ reached } = state« as { reached: number }»);
      },
    };
  },
});
`,
  test: () => `import '@tensorflow/tfjs-backend-cpu';
import { setBackend } from '@tensorflow/tfjs-core';
import { describeCallback } from '@whetstone/testing';
import { beforeAll } from 'vitest';
import plugin from './index.js';

beforeAll(() => setBackend('cpu'));

// Registers the conformance suite of callbacks, for each set of options.
describeCallback(plugin, {
  options: { 'often reached': { loss: 100, steps: 2 }, 'never reached': { loss: 0 } },
  badOptions: {
    'no loss': {},
    'no steps': { loss: 1, steps: 0 },
    'an unknown key': { loss: 1, step: 2 },
  },
});
`,
};
