import { defaultsOf, type Conversation, type DataTransform, type TransformReport } from '@whetstone/core/contract';
import { createReservoir } from '../../report/reservoir.js';
import { createLog } from '../transform-log.js';
import { clusterTopics, topicDocument, usualCount } from './clusters.js';
import { topicSchema, type TopicOptions } from './options.js';
import { createSpool } from './spool.js';

/** The topic if there are too few conversations to cluster. */
const UNKNOWN = 'various';

/**
 * Creates a transform that writes the topic of each conversation to a column. Topics are clusters of conversations with
 * common words, named by their most distinctive words. Conversations that already have the column are not changed. All
 * data is read before the first conversation is yielded; beyond 16 million characters it is stored in a temporary file.
 */
export function createTopicTransform(
  options: Partial<TopicOptions> = {},
  seed = 0,
): DataTransform & { readonly trainOnly: true; readonly report: TransformReport } {
  const { column, count, sample } = { ...defaultsOf(topicSchema), ...options };
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
        const documents = drawn.sample.map(topicDocument);
        const clusters = clusterTopics(documents, count ?? usualCount(documents.length));
        for await (const conversation of spool.read()) {
          current.out();
          if (conversation.columns?.[column] !== undefined) {
            yield conversation;
            continue;
          }
          const topic = clusters?.names[clusters.nearest(topicDocument(conversation))] ?? UNKNOWN;
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
