import { definePlugin } from '@whetstone/core/contract';
import { configSchema } from './options.js';

/** The companion strategy `replay`: mixes earlier data into training. */
export const replay = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'replay',
  description: 'Mixes earlier or general data into training. Combines with any other strategy.',
  configSchema,
  create: async ({ bufferFile, ...options }, { logger, ...context }) => {
    const { replayStrategy } = await import('./replay.js');
    const { keptFile } = await import('../support/kept-file.js');
    return replayStrategy({
      ...options,
      logger,
      bufferFile: bufferFile === undefined ? undefined : keptFile('bufferFile', bufferFile, context),
    });
  },
});
