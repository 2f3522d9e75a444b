import { setImmediate } from 'node:timers/promises';
import type { Conversation, LoadedModel, Message, Metric, ReplyGenerator, ToolDefinition } from '../contract/index.js';
import { WhetstoneError, isWhetstoneError } from '../contract/errors.js';
import type { Workers } from '../contract/workers.js';
import { singleWorker } from '../distributed/single-worker.js';
import type { Named } from './named.js';
import { messageOf } from '../util/index.js';

/** A reply to generate: the messages before it, and the reference answer of the data. */
export interface ReplyTask {
  readonly messages: readonly Message[];
  readonly tools?: readonly ToolDefinition[];
  readonly reference: string;
}

/** A model's reply and the reference answer. */
export type ReplyPair = Parameters<Metric['compute']>[0][number];

/** The inputs for generating replies and measuring them. */
export interface ReplyMetrics {
  readonly tasks: readonly ReplyTask[];
  readonly metrics: readonly Named<Metric>[];
  readonly generate: ReplyGenerator;
  readonly batchSize: number;
  readonly maxNewTokens: number;
}

/** Returns a task for the last text answer of each conversation, for the first `most` conversations that have one. */
export async function replyTasks(
  conversations: AsyncIterable<Conversation> | Iterable<Conversation>,
  most: number,
): Promise<readonly ReplyTask[]> {
  const tasks: ReplyTask[] = [];
  for await (const { messages, tools, form } of conversations) {
    const last = messages.findLastIndex(
      ({ role, content }) => role === 'assistant' && typeof content === 'string' && content.trim() !== '',
    );
    const answer = messages[last];
    if (form !== 'chat' || last < 1 || typeof answer?.content !== 'string') continue;
    tasks.push({
      messages: messages.slice(0, last),
      ...(tools === undefined ? {} : { tools }),
      reference: answer.content,
    });
    if (tasks.length >= most) break;
  }
  return tasks;
}

/**
 * Generates replies and computes all metrics on them. Each worker generates a share of the replies. Returns null if
 * interrupted.
 *
 * @throws `PLUGIN_FAILED` if a metric fails or reports a name that is already reported
 */
export async function measureReplies(
  loaded: LoadedModel,
  { tasks, metrics, generate, batchSize, maxNewTokens }: ReplyMetrics,
  {
    signal,
    workers = singleWorker,
    what = 'the replies',
  }: { readonly signal?: AbortSignal; readonly workers?: Workers; readonly what?: string } = {},
): Promise<{ readonly pairs: readonly ReplyPair[]; readonly values: Readonly<Record<string, number>> } | null> {
  const own = tasks.flatMap((task, index) => (index % workers.count === workers.rank ? [task] : []));
  const replies: string[] = [];
  for (let start = 0; start < own.length; start += batchSize) {
    if (signal?.aborted === true) break;
    replies.push(
      ...(await generate(loaded, own.slice(start, start + batchSize), {
        maxNewTokens,
        signal,
      })),
    );
    // Lets timers and signals run between batches.
    await setImmediate();
  }
  const shares = await workers.gather(what, { replies, aborted: signal?.aborted === true });
  if (shares.some(({ aborted }) => aborted)) return null;
  const pairs = tasks.map(({ reference }, index): ReplyPair => ({
    prediction: (shares[index % workers.count]?.replies[Math.floor(index / workers.count)] ?? '').trim(),
    reference: reference.trim(),
  }));
  return { pairs, values: valuesOf(metrics, pairs) };
}

/** Names that an evaluation reports in addition to metrics. */
const reservedNames = ['loss', 'perplexity'];

function valuesOf(metrics: ReplyMetrics['metrics'], pairs: readonly ReplyPair[]): Readonly<Record<string, number>> {
  const values: Record<string, number> = {};
  for (const { plugin, instance } of metrics) {
    for (const [name, value] of Object.entries(compute(plugin, instance, pairs))) {
      if (reservedNames.includes(name) || Object.hasOwn(values, name))
        throw new WhetstoneError(
          'PLUGIN_FAILED',
          `The metric '${plugin}' reports "${name}", which is already reported.`,
          { hint: 'Configure each metric once.' },
        );
      values[name] = value;
    }
  }
  return values;
}

function compute(plugin: string, metric: Metric, pairs: readonly ReplyPair[]): Readonly<Record<string, number>> {
  try {
    return metric.compute(pairs);
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `The metric '${plugin}' failed: ${messageOf(cause)}`, { cause });
  }
}
