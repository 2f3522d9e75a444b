import { definePlugin } from '@whetstone/core/contract';
import { DUPLICATE_PARTS } from '../../choices.js';

export const deduplicatePlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-transform',
  name: 'deduplicate',
  description:
    'Takes out conversations that repeat an earlier one, or almost; and those that are in the evaluation data.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      part: {
        enum: [...DUPLICATE_PARTS],
        default: 'conversation',
        description: 'What of two conversations is compared.',
      },
      near: { type: 'boolean', default: true, description: 'Look for almost equal ones, too.' },
      threshold: {
        type: 'number',
        minimum: 0.3,
        maximum: 1,
        default: 0.7,
        description: 'The least similarity of near duplicates.',
      },
      shingle: {
        type: 'integer',
        minimum: 2,
        maximum: 20,
        default: 4,
        description: 'Characters of a shingle; half as many in Chinese, Japanese and Korean.',
      },
      against: {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        default: [],
        description: 'Files of evaluation data that must not be repeated.',
      },
      onLeak: { enum: ['error', 'drop'], default: 'error', description: 'What it means where they are.' },
    },
  } as const,
  create: async (options, context) => {
    const { createDeduplicateTransform } = await import('./transform.js');
    return createDeduplicateTransform(options, context.baseFolder);
  },
});
