import { definePlugin } from '@whetstone/core/contract';
import { configSchema } from './options.js';

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
