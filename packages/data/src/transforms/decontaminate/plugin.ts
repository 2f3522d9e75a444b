import { definePlugin } from '@whetstone/core/contract';
import { decontaminateSchema } from './options.js';

export const decontaminate = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'decontaminate',
  description: 'Removes conversations that share a sequence of words with a benchmark.',
  configSchema: decontaminateSchema,
  create: async (options, context) => {
    const { createDecontaminateTransform } = await import('./transform.js');
    return createDecontaminateTransform(options, context.baseFolder);
  },
});
