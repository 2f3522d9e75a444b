import { definePlugin } from '@whetstone/core/contract';
import type { Conversation, DataTransform, TransformReport } from '@whetstone/core/contract';
import { createReservoir } from '../../report/reservoir.js';
import { createLog, TRANSFORMS_VERSION } from '../transform-log.js';
import { clusterTopics, termCounts, usualCount } from './clusters.js';
import { createSpool } from './spool.js';

export interface TopicOptions {
  /** The column that is written. */
  readonly column: string;
  /** Clusters; null: by the number of conversations. */
  readonly count: number | null;
  /** Conversations that are clustered, drawn at random from all; the others join the nearest cluster. */
  readonly sample: number;
}

const defaultTopicOptions: TopicOptions = { column: 'topic', count: null, sample: 2000 };

/** What conversations without a cluster of their own are called. */
const UNKNOWN = 'various';

/**
 * A transform that gives every conversation a topic, in a column: clusters of conversations with words in common, named
 * by the words that set them apart. What has the column already keeps it. All of the data is read before the first
 * conversation goes on; beyond 16 million characters it waits in a temporary file.
 */
export function createTopicTransform(
  options: Partial<TopicOptions> = {},
  seed = 0,
): DataTransform & { readonly trainOnly: true; readonly report: TransformReport } {
  const { column, count, sample } = { ...defaultTopicOptions, ...options };
  let log = createLog('topics');
  return {
    trainOnly: true,
    async *transform(conversations) {
      log = createLog('topics');
      const current = log;
      const spool = createSpool<Conversation>();
      try {
        const drawn = createReservoir<Conversation>(sample, 'topics', seed);
        for await (const conversation of conversations) {
          current.in();
          spool.add(conversation);
          if (conversation.columns?.[column] === undefined) drawn.add(conversation);
        }
        const documents = drawn.sample.map(termCounts);
        const clusters = clusterTopics(documents, count ?? usualCount(documents.length));
        for await (const conversation of spool.read()) {
          current.out();
          if (conversation.columns?.[column] !== undefined) {
            yield conversation;
            continue;
          }
          const topic = clusters?.names[clusters.nearest(termCounts(conversation))] ?? UNKNOWN;
          current.changed(topic);
          yield { ...conversation, columns: { ...conversation.columns, [column]: topic } };
        }
      } finally {
        spool.close();
      }
    },
    get report(): TransformReport {
      return log.report;
    },
  };
}

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
  create: (options, context) => createTopicTransform(options, context.seed),
});
