import { definePlugin } from '@whetstone/core/contract';
import { DUPLICATE_PARTS } from '../../choices.js';

export const deduplicatePlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'deduplicate',
  description:
    'Removes exact and near duplicates of earlier conversations, and conversations that repeat evaluation data.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      part: {
        enum: [...DUPLICATE_PARTS],
        default: 'conversation',
        description: 'The part of conversations that is compared.',
      },
      near: { type: 'boolean', default: true, description: 'Also remove near duplicates.' },
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
        description: 'Characters per shingle; half as many for Chinese, Japanese and Korean.',
      },
      against: {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        default: [],
        description: 'Files of evaluation data that must not be repeated.',
      },
      onLeak: {
        enum: ['error', 'drop'],
        default: 'error',
        description: 'What happens to a conversation that repeats evaluation data.',
      },
    },
  } as const,
  create: async (options, context) => {
    const { createDeduplicateTransform } = await import('./transform.js');
    return createDeduplicateTransform(options, context.baseFolder);
  },
});
