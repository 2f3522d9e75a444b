import { definePlugin } from '@whetstone/core/contract';
import { configSchema } from './options.js';

/** The strategy `full`: trains all parameters. */
export const full = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'full',
  description: 'Trains all parameters of the model, in float32 or in bfloat16 with float32 masters.',
  configSchema,
  create: async (options) => {
    const { fullStrategy } = await import('./full.js');
    return fullStrategy({ ...options });
  },
});
