import { definePlugin } from '@whetstone/core/contract';
import { TRANSFORMS_VERSION } from '../transform-log.js';

export const topicsPlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'topics',
  version: String(TRANSFORMS_VERSION),
  description:
    'Clusters conversations and writes their topics to a column, for a balance by topic if the data has no topics.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      column: {
        type: 'string',
        minLength: 1,
        default: 'topic',
        description: 'The column that is written. Conversations that have it are not changed.',
      },
      count: {
        type: ['integer', 'null'],
        minimum: 2,
        maximum: 100,
        default: null,
        description: 'Number of clusters; null for 2 to 10, depending on the number of conversations.',
      },
      sample: {
        type: 'integer',
        minimum: 20,
        default: 2000,
        description: 'Conversations that are clustered, drawn at random; others are assigned to the nearest cluster.',
      },
    },
  } as const,
  create: async (options, context) => {
    const { createTopicTransform } = await import('./transform.js');
    return createTopicTransform(options, context.seed);
  },
});
