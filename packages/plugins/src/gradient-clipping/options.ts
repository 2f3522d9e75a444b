import type { FromSchema } from '@whetstone/core/contract';

/** The schema of the options of `gradient-clipping`. */
export const configSchema = {
  type: 'object',
  properties: {
    mode: {
      enum: ['norm', 'parameter-norm', 'value', 'adaptive'],
      default: 'norm',
      description:
        'What is limited: norm, the joint norm of all gradients; parameter-norm, the norm of each gradient; value, ' +
        'each element; adaptive, the norm relative to the weights (AGC).',
    },
    maxNorm: { type: 'number', exclusiveMinimum: 0, default: 1, description: 'Maximum norm.' },
    maxValue: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 1,
      description: 'Maximum absolute value of an element, for mode `value`.',
    },
    adaptiveFactor: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 0.01,
      description: "Maximum ratio of a unit's gradient norm to its weight norm, for mode `adaptive`.",
    },
    nonFinite: {
      enum: ['pass', 'skip', 'stop'],
      default: 'pass',
      description:
        'Deprecated: use the callback nan-guard. The action if a gradient is not finite: leave it to the engine, ' +
        'skip the update, or stop the run. Skipping and stopping read the norm from the device in each step.',
    },
  },
  additionalProperties: false,
} as const;

/** The options of `gradient-clipping`. */
export type GradientClippingOptions = FromSchema<typeof configSchema>;
