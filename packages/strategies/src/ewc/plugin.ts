import { definePlugin } from '@whetstone/core/contract';
import { configSchema } from './options.js';

/** The strategy `ewc`: elastic weight consolidation (Kirkpatrick et al. 2017), a companion of any owner. */
export const ewc = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'ewc',
  description:
    'Elastic weight consolidation: preserves weights that are important for an old task. Combines with any other ' +
    'strategy.',
  configSchema,
  create: async ({ fisherFile, ...options }, { logger, ...context }) => {
    const { ewcStrategy } = await import('./ewc.js');
    const { keptFile } = await import('../support/kept-file.js');
    return ewcStrategy({
      ...options,
      logger,
      fisherFile: fisherFile === undefined ? undefined : keptFile('fisherFile', fisherFile, context),
    });
  },
});
