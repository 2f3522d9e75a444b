import { setImmediate } from 'node:timers/promises';
import type {
  Conversation,
  Json,
  LoadedModel,
  Metric,
  MetricNeeds,
  MetricSample,
  ReferenceLikelihood,
  ReplyGenerator,
  TensorBackendInfo,
} from '../contract/index.js';
import { WhetstoneError } from '../contract/errors.js';
import type { Workers } from '../contract/workers.js';
import { singleWorker } from '../distributed/workers.js';
import { frozen } from '../util/index.js';
import { startMetrics, type ComputedSample, type MetricLimits, type SampleStatistics } from './metric-runs.js';
import { choiceSamples, choicesOf, noSamples, sampleWindows } from './metric-samples.js';
import type { Named } from './named.js';
import { referenceLikelihoods } from './reference-likelihoods.js';

/** The metrics of an evaluation, and what they are computed from. */
export interface MetricEvaluation {
  readonly metrics: readonly Named<Metric>[];
  /** Returns the conversations of the evaluation data in order. Each call starts at the first one. */
  conversations(): AsyncIterable<Conversation> | Iterable<Conversation>;
  /** How replies are generated; null if no metric needs them. */
  readonly replies: {
    readonly generate: ReplyGenerator;
    /** The number of samples for which a reply is generated: the first ones. */
    readonly most: number;
    readonly maxNewTokens: number;
  } | null;
  /** The number of samples that are computed at once. */
  readonly batchSize: number;
  /** The maximum length of a prompt with its reference in tokens; null: the model's context. */
  readonly maxLength: number | null;
}

export interface MeasureOptions {
  /** What bounds the metrics. */
  readonly limits?: MetricLimits;
  readonly backend: Pick<TensorBackendInfo, 'barrier'>;
  /** If aborted, the measurement ends after the current batch and returns null. */
  readonly signal?: AbortSignal;
  /** The workers that evaluate together. Each computes a share of the batches. By default, a single one. */
  readonly workers?: Workers;
  /** Describes the measurement in messages of the workers. */
  readonly what?: string;
  /** Receives each sample, in order, after the metrics. Called on rank 0. */
  onSample?(measured: MeasuredSample): void | Promise<void>;
}

/** A sample, what was computed for it, and what additive metrics add up of it. */
export interface MeasuredSample extends ComputedSample {
  /** In the order of the metrics. */
  readonly statistics: readonly SampleStatistics[];
}

/** Returns whether any of the metrics needs this. */
export const anyNeeds = (metrics: readonly Named<Metric>[], needs: MetricNeeds): boolean =>
  metrics.some(({ instance }) => instance.needs === needs);

/**
 * Passes the samples of the evaluation data to all metrics and returns their numbers; null if interrupted. Computes
 * only what a metric needs. At any time, one batch of samples per worker is in memory.
 *
 * Each worker computes every n-th batch. Rank 0 receives the results of all workers, so that the metrics see the same
 * samples in the same order as in a single process.
 *
 * @throws `PLUGIN_FAILED` if a metric fails, or returns something else than finite numbers with names of its own; if
 *   the generator does not reply to all conversations
 * @throws `DATA_EMPTY` if no conversation ends with an answer
 */
export async function measureMetrics(
  loaded: LoadedModel,
  evaluation: MetricEvaluation,
  { backend, signal, workers = singleWorker, what = 'the metrics', limits, onSample }: MeasureOptions,
): Promise<Readonly<Record<string, number>> | null> {
  const { metrics, replies, batchSize } = evaluation;
  if (metrics.length === 0) return {};
  const runs = workers.rank === 0 ? startMetrics(metrics, limits) : null;
  const readsAll = (['none', 'logProbabilities', 'choices'] as const).some((needs) => anyNeeds(metrics, needs));
  const most = readsAll ? Infinity : (replies?.most ?? 0);
  let first = 0;
  for await (const window of sampleWindows(evaluation.conversations(), batchSize * workers.count, most)) {
    const start = batchSize * workers.rank;
    const own = window.slice(start, start + batchSize);
    const computed = await computeBatch(loaded, evaluation, own, first + start, { backend, signal });
    const shares = await workers.gather(`samples ${first} to ${first + window.length} of ${what}`, {
      ...encode(computed),
      aborted: signal?.aborted === true,
    });
    if (shares.some(({ aborted }) => aborted)) return null;
    for (const [index, result] of shares.flatMap(decode).entries()) {
      const sample = frozen(window[index] as MetricSample);
      if (runs === null) continue;
      const computed = computedSample(sample, result);
      const statistics = await runs.add(computed);
      await onSample?.({ ...computed, statistics });
    }
    first += window.length;
    // Lets timers and signals run between batches.
    await setImmediate();
  }
  if (first === 0) throw noSamples();
  const [values = {}] = await workers.gather(what, { ...(await runs?.results()) });
  return values;
}

/** What was computed for each sample of a batch; a list is empty if no metric needs it. */
interface ComputedBatch {
  readonly samples: number;
  /** The replies to the first samples. */
  readonly replies: readonly string[];
  readonly likelihoods: readonly ReferenceLikelihood[];
  /** The likelihoods of the choices of each sample. */
  readonly choices: readonly (readonly ReferenceLikelihood[])[];
}

async function computeBatch(
  loaded: LoadedModel,
  { metrics, replies, maxLength }: MetricEvaluation,
  samples: readonly MetricSample[],
  first: number,
  { backend, signal }: Pick<MeasureOptions, 'backend' | 'signal'>,
): Promise<ComputedBatch> {
  const answered = samples.slice(0, Math.max(0, (replies?.most ?? 0) - first));
  const generated =
    replies === null || answered.length === 0
      ? []
      : await replies.generate(
          loaded,
          answered.map(({ prompt, conversation: { tools, templateVariables } }) => ({
            messages: prompt,
            ...(tools === undefined ? {} : { tools }),
            ...(templateVariables === undefined ? {} : { templateVariables }),
          })),
          { maxNewTokens: replies.maxNewTokens, signal },
        );
  if (generated.length !== answered.length && signal?.aborted !== true)
    throw new WhetstoneError('PLUGIN_FAILED', 'The service REPLY_GENERATOR did not reply to all conversations.', {
      expected: `${answered.length} replies`,
      found: `${generated.length} replies`,
    });
  const computes = (needs: MetricNeeds): boolean =>
    samples.length > 0 && signal?.aborted !== true && anyNeeds(metrics, needs);
  const likelihoodsOf = (rows: readonly MetricSample[]): Promise<readonly ReferenceLikelihood[]> =>
    referenceLikelihoods(loaded, rows, { maxLength: maxLength ?? loaded.model.maxLength, backend });
  const likelihoods = computes('logProbabilities') ? await likelihoodsOf(samples) : [];
  const choices: (readonly ReferenceLikelihood[])[] = [];
  // The choices of one sample at a time, so that the memory does not depend on their number.
  if (computes('choices'))
    for (const sample of samples) choices.push(await likelihoodsOf(choiceSamples(sample, choicesOf(sample))));
  return { samples: samples.length, replies: generated.map((reply) => reply.trim()), likelihoods, choices };
}

/** Likelihoods as JSON. JSON has no −∞ and NaN, so that the bytes of log-probabilities are sent. */
interface EncodedLikelihood {
  readonly [key: string]: Json;
  readonly tokens: readonly number[];
  readonly mostLikely: readonly number[];
  readonly own: string;
  readonly highest: string;
}

/** A computed batch as JSON. */
interface EncodedBatch {
  readonly [key: string]: Json;
  readonly samples: number;
  readonly replies: readonly string[];
  readonly likelihoods: readonly EncodedLikelihood[];
  readonly choices: readonly (readonly EncodedLikelihood[])[];
}

const textOfBytes = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString('base64');
const floatsOf = (text: string): Float32Array => new Float32Array(Uint8Array.from(Buffer.from(text, 'base64')).buffer);

const encodeLikelihood = (likelihood: ReferenceLikelihood): EncodedLikelihood => ({
  tokens: [...likelihood.tokens],
  mostLikely: [...likelihood.mostLikely],
  own: textOfBytes(likelihood.logProbabilities),
  highest: textOfBytes(likelihood.highestLogProbabilities),
});

const decodeLikelihood = ({ tokens, mostLikely, own, highest }: EncodedLikelihood): ReferenceLikelihood => ({
  tokens: Int32Array.from(tokens),
  logProbabilities: floatsOf(own),
  mostLikely: Int32Array.from(mostLikely),
  highestLogProbabilities: floatsOf(highest),
});

const encode = ({ samples, replies, likelihoods, choices }: ComputedBatch): EncodedBatch => ({
  samples,
  replies,
  likelihoods: likelihoods.map(encodeLikelihood),
  choices: choices.map((all) => all.map(encodeLikelihood)),
});

/** Returns what was computed for each sample of a batch, without the samples themselves. */
function decode({ samples, replies, likelihoods, choices }: EncodedBatch): readonly DecodedSample[] {
  return Array.from({ length: samples }, (_, index) => {
    const likelihood = likelihoods[index];
    return {
      reply: replies[index],
      likelihoods: likelihood === undefined ? undefined : [decodeLikelihood(likelihood)],
      choiceLikelihoods: choices[index]?.map(decodeLikelihood),
    };
  });
}

interface DecodedSample extends Omit<ComputedSample, 'sample' | 'choices'> {
  readonly choiceLikelihoods: readonly ReferenceLikelihood[] | undefined;
}

/** Adds the sample to what was computed for it. */
function computedSample(
  sample: MetricSample,
  { reply, likelihoods, choiceLikelihoods }: DecodedSample,
): ComputedSample {
  if (choiceLikelihoods === undefined) return { sample, reply, likelihoods };
  const { texts } = choicesOf(sample);
  const choices = choiceLikelihoods.map((likelihood, index) => ({ text: texts[index] ?? '', likelihood }));
  return { sample, reply, likelihoods, choices };
}
