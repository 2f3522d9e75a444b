import { definePlugin } from '@whetstone/core/contract';
import { qualitySchema } from './options.js';

export const qualityFilter = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'quality-filter',
  description:
    'Removes conversations that are too short or long, repetitive, truncated, in another language, or have roles ' +
    'out of order.',
  configSchema: qualitySchema,
  create: async (options) => {
    const { createQualityTransform } = await import('./transform.js');
    return createQualityTransform(options);
  },
});
