import { resolve } from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import { checkKeptFile } from '../support/kept-file.js';
import { configSchema } from './options.js';

/** The companion strategy `replay`: mixes earlier data into training. */
export const replay = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'replay',
  description: 'Mixes earlier or general data into training. Combines with any other strategy.',
  configSchema,
  checkOptions: ({ bufferFile }, context) => checkKeptFile('bufferFile', bufferFile, context),
  create: async ({ bufferFile, ...options }, { logger, baseFolder }) => {
    const { replayStrategy } = await import('./replay.js');
    return replayStrategy({
      ...options,
      logger,
      bufferFile: bufferFile === undefined ? undefined : resolve(baseFolder, bufferFile),
    });
  },
});
