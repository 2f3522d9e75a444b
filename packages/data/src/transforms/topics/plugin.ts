import { definePlugin } from '@whetstone/core/contract';
import { TRANSFORMS_VERSION } from '../transform-log.js';
import { topicSchema } from './options.js';

export const topics = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'topics',
  version: String(TRANSFORMS_VERSION),
  description:
    'Clusters conversations and writes their topics to a column, for a balance by topic if the data has no topics.',
  configSchema: topicSchema,
  create: async (options, context) => {
    const { createTopicTransform } = await import('./transform.js');
    return createTopicTransform(options, context.seed);
  },
});
