import { definePlugin } from '@whetstone/core/contract';

const configSchema = {
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

/** Deprecation warnings for the values of `nonFinite`. */
const deprecations = {
  skip:
    "gradient-clipping: nonFinite 'skip' adds a read from the device to each step. Use the callback nan-guard with " +
    '"action": "skip" instead, which needs no additional read.',
  stop:
    "gradient-clipping: nonFinite 'stop' adds a read from the device to each step. Remove it: a step that is not " +
    'finite fails the run anyway. The callback nan-guard offers other actions.',
} as const;

/** The callback `gradient-clipping`: limits gradients, and reports their norms. */
export const gradientClipping = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'gradient-clipping',
  description: 'Clips gradients by global norm, parameter norm, value or adaptively (AGC), and reports the norms.',
  configSchema,
  create: async (options, { logger }) => {
    if (options.nonFinite !== 'pass') logger.warn(deprecations[options.nonFinite]);
    const { createGradientClipping } = await import('./gradient-clipping.js');
    return createGradientClipping(options);
  },
});
