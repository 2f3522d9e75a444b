import { definePlugin } from '@whetstone/core/contract';

const configSchema = {
  type: 'object',
  properties: {
    weights: {
      enum: ['float32', 'bfloat16'],
      default: 'float32',
      description:
        'What the model computes with and is saved as. bfloat16: rounded weights of two bytes, whose float32 ' +
        'masters take the updates (Micikevicius et al. 2018).',
    },
  },
  additionalProperties: false,
} as const;

/** The strategy `full`: trains every parameter. */
export const full = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'full',
  description: 'Trains every parameter of the model, in float32 or with bfloat16 weights over float32 masters.',
  configSchema,
  create: async (options) => {
    const { fullStrategy } = await import('./full.js');
    return fullStrategy({ ...options });
  },
});
