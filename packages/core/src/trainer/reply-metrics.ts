import {
  REPLY_GENERATOR,
  WhetstoneError,
  type Conversation,
  type DataSource,
  type DataTransform,
  type Metric,
} from '../contract/index.js';
import type { ResolvedConfig } from '../config/types.js';
import type { RunServices } from '../container.js';
import { replyTasks, type ReplyMetrics } from '../training/reply-metrics.js';
import type { Named } from '../training/named.js';

/** Yields the conversations of evaluation data after its transforms. */
async function* transformedConversations(
  source: DataSource,
  transforms: readonly DataTransform[],
): AsyncGenerator<Conversation> {
  const own = async function* (): AsyncGenerator<Conversation> {
    yield* source.conversations();
  };
  yield* transforms
    .filter(({ trainOnly }) => trainOnly !== true)
    .reduce<AsyncIterable<Conversation>>((conversations, transform) => transform.transform(conversations), own());
}

/**
 * Collects the conversations, the metrics and the generator that reply metrics need. The conversations are those of the
 * evaluation data, after its transforms. Returns null if no metrics are configured.
 *
 * @throws `CONFIG_CONFLICT` if there are no conversations, or no generator
 * @throws `DATA_EMPTY` if no conversation ends with an answer
 */
export async function composeReplyMetrics(
  { evaluation: { replies, maxNewTokens }, training }: ResolvedConfig,
  services: RunServices,
  source: DataSource | null,
  transforms: readonly DataTransform[],
  metrics: readonly Named<Metric>[],
): Promise<ReplyMetrics | null> {
  if (metrics.length === 0) return null;
  const place = { path: 'evaluation.metrics' };
  if (source === null)
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'Metrics compare replies in conversations, but the evaluation data is given as batches.',
      { place, expected: 'data.eval' },
    );
  if (!services.has(REPLY_GENERATOR))
    throw new WhetstoneError('CONFIG_CONFLICT', 'The service that generates replies is missing.', {
      place,
      expected: 'REPLY_GENERATOR',
      hint: 'The package "whetstone" registers it in its Trainer and its command.',
    });
  const tasks = await replyTasks(transformedConversations(source, transforms), replies);
  if (tasks.length === 0)
    throw new WhetstoneError(
      'DATA_EMPTY',
      'No conversation of the evaluation data ends with an answer to compare replies with.',
      { place, hint: 'Metrics need chats that consist of questions and answers.' },
    );
  return {
    tasks,
    metrics,
    generate: services.get(REPLY_GENERATOR),
    batchSize: training.perDeviceEvalBatchSize,
    maxNewTokens,
  };
}
