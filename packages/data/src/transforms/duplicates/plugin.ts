import { definePlugin } from '@whetstone/core/contract';
import { deduplicateSchema } from './options.js';

export const deduplicate = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'deduplicate',
  description:
    'Removes exact and near duplicates of earlier conversations, and conversations that repeat evaluation data.',
  configSchema: deduplicateSchema,
  create: async (options, context) => {
    const { createDeduplicateTransform } = await import('./transform.js');
    return createDeduplicateTransform(options, context.baseFolder);
  },
});
