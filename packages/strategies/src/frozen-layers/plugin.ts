import { definePlugin } from '@whetstone/core/contract';
import { configSchema } from './options.js';

/** The strategy `frozen-layers`: trains the last layers, or the parameters that patterns select. */
export const frozenLayers = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'frozen-layers',
  description: 'Trains the last layers, or parameters that patterns select, and freezes the others.',
  configSchema,
  create: async (options, { logger }) => {
    const { frozenLayersStrategy } = await import('./frozen-layers.js');
    return frozenLayersStrategy({ ...options, logger });
  },
});
