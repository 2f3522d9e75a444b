import { resolve } from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import { checkKeptFile } from '../support/kept-file.js';
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
  checkOptions: ({ fisherFile }, context) => checkKeptFile('fisherFile', fisherFile, context),
  create: async ({ fisherFile, ...options }, { logger, baseFolder }) => {
    const { ewcStrategy } = await import('./ewc.js');
    return ewcStrategy({
      ...options,
      logger,
      fisherFile: fisherFile === undefined ? undefined : resolve(baseFolder, fisherFile),
    });
  },
});
