import type { Template } from './template.js';

export const logger: Template = {
  description: 'Appends the loss of each step to a text file.',
  configuration: (use) => ({ loggers: [{ use, options: { file: 'losses.txt' } }] }),
  source: ({ name, description }) => `import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { definePlugin } from '@whetstone/core/contract';

export default definePlugin({
  apiVersion: 2,
  kind: 'logger',
  name: '${name}',
  version: '0.1.0',
  description: '${description}',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      file: { type: 'string', minLength: 1, default: 'losses.txt', description: 'The file, in the folder of the run.' },
    },
  },
  // The folder is null if the run writes nothing, as in all but one of several processes.
  create: ({ file }, { outputFolder }) => ({
    onStep: ({ step, loss }) => {
      if (outputFolder !== null) appendFileSync(join(outputFolder, file), step + '\\t' + loss + '\\n');
    },
  }),
});
`,
  test: () => `import '@tensorflow/tfjs-backend-cpu';
import { setBackend } from '@tensorflow/tfjs-core';
import { describeCallback } from '@whetstone/testing';
import { beforeAll } from 'vitest';
import plugin from './index.js';

beforeAll(() => setBackend('cpu'));

// Registers the conformance suite of callbacks, which loggers are, for each set of options.
describeCallback(plugin, {
  options: { 'by default': {}, 'another file': { file: 'other.txt' } },
  badOptions: { 'no name': { file: '' }, 'an unknown key': { files: 'other.txt' } },
});
`,
};
