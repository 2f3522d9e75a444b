import { definePlugin } from '@whetstone/core/contract';

const configSchema = {
  type: 'object',
  properties: {
    mode: {
      enum: ['norm', 'parameter-norm', 'value', 'adaptive'],
      default: 'norm',
      description: 'norm: all gradients together; parameter-norm: each by itself; value: each element; adaptive: AGC.',
    },
    maxNorm: { type: 'number', exclusiveMinimum: 0, default: 1, description: 'Bound of the norm.' },
    maxValue: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 1,
      description: "Bound of an element's size, for mode `value`.",
    },
    adaptiveFactor: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 0.01,
      description: "Bound of a unit's gradient norm over its weight norm, for mode `adaptive`.",
    },
    nonFinite: {
      enum: ['pass', 'skip', 'stop'],
      default: 'pass',
      description:
        'Replaced by the callback nan-guard. What to do about gradients that are not finite: leave them to the ' +
        'engine, skip the update, or stop the run. Skipping and stopping read the norm back in each step.',
    },
  },
  additionalProperties: false,
} as const;

/** What to write instead of `nonFinite`. */
const replacedBy = {
  skip:
    "gradient-clipping: nonFinite 'skip' reads the device a second time in each step. Use the callback nan-guard " +
    'with "action": "skip" instead, which needs no additional read.',
  stop:
    "gradient-clipping: nonFinite 'stop' reads the device a second time in each step. Leave it out: a step that is " +
    'not finite fails the run anyway. The callback nan-guard offers other actions.',
} as const;

/** The callback `gradient-clipping`: limits gradients, and reports their norms. */
export const gradientClipping = definePlugin({
  apiVersion: 1,
  kind: 'callback',
  name: 'gradient-clipping',
  description: 'Bounds gradients by global norm, parameter norm, value or adaptively, and reports the norms.',
  configSchema,
  create: async (options, { logger }) => {
    if (options.nonFinite !== 'pass') logger.warn(replacedBy[options.nonFinite]);
    const { createGradientClipping } = await import('./gradient-clipping.js');
    return createGradientClipping(options);
  },
});
