import { definePlugin } from '@whetstone/core/contract';

const configSchema = {
  type: 'object',
  properties: {
    weights: {
      enum: ['float32', 'bfloat16'],
      default: 'float32',
      description:
        'Data type of the weights in computation and in saved files. bfloat16 takes two bytes per weight; updates ' +
        'accumulate in float32 masters (Micikevicius et al. 2018).',
    },
  },
  additionalProperties: false,
} as const;

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
