import type { FromSchema } from '@whetstone/core/contract';

/** The schema of {@link TopicOptions}. */
export const topicSchema = {
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
      description:
        'Number of clusters, at least one for each script; null for 2 to 10, depending on the number of conversations.',
    },
    sample: {
      type: 'integer',
      minimum: 20,
      default: 2000,
      description: 'Conversations that are clustered, drawn at random; others are assigned to the nearest cluster.',
    },
  },
} as const;

/** The options of the transform `topics`. */
export interface TopicOptions extends FromSchema<typeof topicSchema> {}
