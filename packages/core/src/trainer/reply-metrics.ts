import {
  REPLY_GENERATOR,
  WhetstoneError,
  type Conversation,
  type DataSource,
  type DataTransform,
  type Metric,
} from '../contract/index.js';
import type { ResolvedConfig } from '../config/types.js';
import type { Services } from '../container.js';
import { replyTasks, type ReplyMetrics } from '../training/reply-metrics.js';
import type { Named } from '../training/named.js';

async function* through(source: DataSource, transforms: readonly DataTransform[]): AsyncGenerator<Conversation> {
  const own = async function* (): AsyncGenerator<Conversation> {
    yield* source.conversations();
  };
  yield* transforms
    .filter(({ trainOnly }) => trainOnly !== true)
    .reduce<AsyncIterable<Conversation>>((conversations, transform) => transform.transform(conversations), own());
}

/**
 * What a configuration's metrics need: the questions of the evaluation data, cleaned as all of it. Null where there are
 * no metrics.
 *
 * @throws `CONFIG_CONFLICT` where there are no conversations or nothing can answer them, `DATA_EMPTY` where none ends
 *   with an answer
 */
export async function composeReplyMetrics(
  { evaluation: { replies, maxNewTokens }, training }: ResolvedConfig,
  services: Services,
  source: DataSource | null,
  transforms: readonly DataTransform[],
  metrics: readonly Named<Metric>[],
): Promise<ReplyMetrics | null> {
  if (metrics.length === 0) return null;
  const place = { path: 'evaluation.metrics' };
  if (source === null)
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'Metrics are measured on answers to conversations, and the evaluation data is given as batches.',
      { place, expected: 'data.eval' },
    );
  if (!services.has(REPLY_GENERATOR))
    throw new WhetstoneError('CONFIG_CONFLICT', 'Nothing here can let the model answer.', {
      place,
      expected: 'REPLY_GENERATOR',
      hint: 'The trainer and the command of the package "whetstone" bring it along.',
    });
  const tasks = await replyTasks(through(source, transforms), replies);
  if (tasks.length === 0)
    throw new WhetstoneError(
      'DATA_EMPTY',
      'No conversation of the evaluation data ends with an answer that a reply could be compared with.',
      { place, hint: 'Metrics need chats: questions and answers.' },
    );
  return {
    tasks,
    metrics,
    generate: services.get(REPLY_GENERATOR),
    batchSize: training.perDeviceEvalBatchSize,
    maxNewTokens,
  };
}
