import { definePlugin } from '@whetstone/core/contract';
import { TRANSFORMS_VERSION } from '../transform-log.js';

export const topicsPlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-transform',
  name: 'topics',
  version: String(TRANSFORMS_VERSION),
  description:
    'Writes the topic of each conversation into a column, by clustering: for balance by topic where the data has none.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      column: {
        type: 'string',
        minLength: 1,
        default: 'topic',
        description: 'The column that is written; what has it keeps it.',
      },
      count: {
        type: ['integer', 'null'],
        minimum: 2,
        maximum: 100,
        default: null,
        description: 'Clusters; null: 2 to 10, by the number of conversations.',
      },
      sample: {
        type: 'integer',
        minimum: 20,
        default: 2000,
        description: 'Conversations that are clustered, drawn at random; the others join the nearest cluster.',
      },
    },
  } as const,
  create: async (options, context) => {
    const { createTopicTransform } = await import('./transform.js');
    return createTopicTransform(options, context.seed);
  },
});
