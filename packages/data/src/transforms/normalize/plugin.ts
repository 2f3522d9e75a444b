import { definePlugin } from '@whetstone/core/contract';
import { normalizeSchema } from './options.js';

export const normalizeText = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'normalize-text',
  description: 'Normalizes Unicode, character widths, quotes, spaces and repeated marks, in Chinese and English.',
  configSchema: normalizeSchema,
  create: async (options) => {
    const { createNormalizeTransform } = await import('./transform.js');
    return createNormalizeTransform(options);
  },
});
