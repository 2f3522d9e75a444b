import {
  REPLY_GENERATOR,
  WhetstoneError,
  type Conversation,
  type DataSource,
  type DataTransform,
  type Metric,
} from '../contract/index.js';
import { evaluationOptions } from '../config/frame-schema.js';
import type { ConfigResolution } from '../config/index.js';
import type { ResolvedConfig } from '../config/types.js';
import type { Services } from '../container.js';
import { anyNeeds, type MetricEvaluation } from '../training/measure-metrics.js';
import { noSamples, sampleWindows } from '../training/metric-samples.js';
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
 * Collects the metrics and what they are computed from: the conversations of the evaluation data, after its transforms,
 * and the generator of replies if a metric needs it. Returns null if no metrics are configured.
 *
 * @throws `CONFIG_UNUSED_KEY` if options of replies are set, but no metric needs replies
 * @throws `CONFIG_CONFLICT` if there are no conversations, or no generator although a metric needs replies
 * @throws `DATA_EMPTY` if no conversation ends with an answer
 */
export async function composeMetrics(
  { config, wasWritten }: Pick<ConfigResolution, 'config' | 'wasWritten'>,
  services: Services,
  source: DataSource | null,
  transforms: readonly DataTransform[],
  metrics: readonly Named<Metric>[],
): Promise<MetricEvaluation | null> {
  if (metrics.length === 0) return null;
  const { evaluation, training, data } = config;
  const place = { path: 'evaluation.metrics' };
  if (source === null)
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'Metrics are computed from conversations, but the evaluation data is given as batches.',
      { place, expected: 'data.eval' },
    );
  const generate = anyNeeds(metrics, 'replies') ? await services.resolve(REPLY_GENERATOR) : null;
  if (generate === null) checkReplyOptions(evaluation, wasWritten);
  const conversations = () => transformedConversations(source, transforms);
  let isEmpty = true;
  for await (const { length } of sampleWindows(conversations(), 1, 1)) isEmpty = length === 0;
  if (isEmpty) throw WhetstoneError.with(noSamples(), { place });
  return {
    metrics,
    conversations,
    replies: generate === null ? null : { generate, most: evaluation.replies, maxNewTokens: evaluation.maxNewTokens },
    batchSize: training.perDeviceEvalBatchSize,
    maxLength: data.maxLength,
  };
}

/** Refuses options of replies that were set although nothing is generated. */
function checkReplyOptions(evaluation: ResolvedConfig['evaluation'], wasWritten: ConfigResolution['wasWritten']): void {
  for (const key of ['replies', 'maxNewTokens'] as const)
    if (wasWritten(['evaluation', key]) && evaluation[key] !== evaluationOptions[key].default)
      throw new WhetstoneError('CONFIG_UNUSED_KEY', `evaluation.${key} has no effect: no metric needs replies.`, {
        place: { path: `evaluation.${key}` },
        found: String(evaluation[key]),
        hint: `Remove ${key}, or add a metric of replies, such as chrf.`,
      });
}
