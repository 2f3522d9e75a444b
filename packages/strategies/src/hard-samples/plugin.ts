import { definePlugin } from '@whetstone/core/contract';
import { configSchema } from './options.js';

/** The companion strategy `hard-samples`: repeats samples with a high loss. */
export const hardSamples = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'hard-samples',
  description: 'Repeats samples on which the model has a high loss, within limits. Combines with any other strategy.',
  configSchema,
  create: async (options) => {
    const { hardSamplesStrategy } = await import('./hard-samples.js');
    return hardSamplesStrategy(options);
  },
});
