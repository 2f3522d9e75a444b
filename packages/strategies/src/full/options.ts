import type { FromSchema } from '@whetstone/core/contract';

/** The schema of the options. */
export const configSchema = {
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

/** The options of `full`. */
export type FullOptions = FromSchema<typeof configSchema>;
