import type {
  AdditiveMetric,
  ChoiceSample,
  LikelihoodSample,
  Metric,
  MetricAccumulator,
  MetricNeeds,
  MetricSample,
  MetricSamples,
  ReplySample,
} from '../contract/index.js';
import { WhetstoneError, isWhetstoneError, type WhetstoneErrorOptions } from '../contract/errors.js';
import { describeFound, isRecord, messageOf } from '../util/index.js';
import { choicesOf } from './metric-samples.js';
import type { Named } from './named.js';

/** What an evaluation computed for a sample; absent if no metric needs it. */
export interface ComputedSample extends Partial<
  Pick<ReplySample, 'reply'> & Pick<LikelihoodSample, 'likelihoods'> & Pick<ChoiceSample, 'choices'>
> {
  readonly sample: MetricSample;
}

/** What an additive metric adds up of a sample; null if the metric is not additive, or did not receive the sample. */
export type SampleStatistics = readonly number[] | null;

/** The metrics of one evaluation, with their accumulators. */
export interface MetricRuns {
  /**
   * Passes a sample to each metric for which all that it needs was computed. Returns the statistics of the sample for
   * each metric; null if the metric is not additive, or did not receive the sample.
   *
   * @throws `PLUGIN_FAILED` if a metric fails
   */
  add(computed: ComputedSample): Promise<readonly SampleStatistics[]>;
  /**
   * Returns the numbers of all metrics.
   *
   * @throws `PLUGIN_FAILED` if a metric fails, returns something else than finite numbers, or a name that is already
   *   reported
   */
  results(): Promise<Readonly<Record<string, number>>>;
}

/** What bounds the metrics of an evaluation. */
export interface MetricLimits {
  /** The longest time in seconds that a metric may take for a sample, or for its result; 600 by default. */
  readonly secondsPerCall?: number;
  /** If present, a metric that fails is left out, and its error reported here; otherwise the evaluation fails. */
  readonly onFailure?: (error: WhetstoneError) => void;
}

const SECONDS_PER_CALL = 600;

/** Names that an evaluation reports in addition to metrics. */
const reservedNames = ['loss', 'perplexity'];

/** Returns the names of all numbers of an evaluation; null if a metric does not declare its own. */
export function evaluationNumbers(metrics: readonly Named<Metric>[]): readonly string[] | null {
  const names = [...reservedNames];
  for (const { instance } of metrics) {
    if (instance.numbers === undefined) return null;
    names.push(...instance.numbers);
  }
  return names;
}

/**
 * Creates the accumulators of all metrics.
 *
 * @throws `PLUGIN_FAILED` if a metric fails
 */
export function startMetrics(metrics: readonly Named<Metric>[], limits: MetricLimits = {}): MetricRuns {
  const { secondsPerCall = SECONDS_PER_CALL, onFailure } = limits;
  const failing = new Set<string>();
  /** Calls a method of a metric. Returns `otherwise` if it fails and is left out. */
  const guarded = async <T>(plugin: string, otherwise: T, call: () => Promise<T>): Promise<T> => {
    if (failing.has(plugin)) return otherwise;
    try {
      return await call();
    } catch (error) {
      if (onFailure === undefined || !isWhetstoneError(error)) throw error;
      failing.add(plugin);
      onFailure(error);
      return otherwise;
    }
  };
  const runs = metrics.map(({ plugin, instance }) => {
    const { needs } = instance;
    try {
      // The type of `needs` determines that of the samples, which TypeScript cannot follow in a list.
      const additive = instance.additive as AdditiveMetric<MetricSample> | undefined;
      const accumulator =
        additive === undefined
          ? accumulatorRun(instance.createAccumulator() as MetricAccumulator<MetricSample>)
          : additiveRun(plugin, additive);
      return { plugin, needs, accumulator };
    } catch (cause) {
      throw failureOf(plugin, null, cause);
    }
  });
  return {
    add: async (computed) => {
      const samples = samplesFor(computed);
      const statistics: SampleStatistics[] = [];
      for (const { plugin, needs, accumulator } of runs) {
        const sample = samples[needs];
        const add = () =>
          naming(plugin, computed.sample, secondsPerCall, () => accumulator.add(sample as MetricSample));
        statistics.push(sample === null ? null : await guarded(plugin, null, add));
      }
      return statistics;
    },
    results: async () => {
      const values: Record<string, number> = {};
      for (const { plugin, accumulator } of runs) {
        const result = async () =>
          numbersOf(plugin, await naming(plugin, null, secondsPerCall, () => accumulator.result()));
        for (const [name, value] of await guarded(plugin, [], result)) {
          if (reservedNames.includes(name) || Object.hasOwn(values, name))
            throw failed(`The metric '${plugin}' reports "${name}", which is already reported.`, {
              hint: 'Configure each metric once.',
            });
          values[name] = value;
        }
      }
      return values;
    },
  };
}

/** A metric of one evaluation. */
interface MetricRun {
  add(sample: MetricSample): Promise<SampleStatistics>;
  result(): Promise<unknown>;
}

const accumulatorRun = (accumulator: MetricAccumulator<MetricSample>): MetricRun => ({
  add: async (sample) => {
    await accumulator.add(sample);
    return null;
  },
  result: async () => accumulator.result(),
});

function additiveRun(plugin: string, additive: AdditiveMetric<MetricSample>): MetricRun {
  let sums: readonly number[] = [];
  return {
    add: async (sample) => {
      const own = await additive.statistics(sample);
      if (!Array.isArray(own) || (sums.length > 0 && own.length !== sums.length) || !own.every(Number.isFinite))
        throw failed(`The statistics of the metric '${plugin}' for a sample are invalid.`, {
          place: placeOf(sample),
          expected: `a list of ${sums.length === 0 ? '' : `${sums.length} `}finite numbers`,
          found: Array.isArray(own) ? `[${own.join(', ')}]` : describeFound(own),
        });
      sums = own.map((value, index) => (sums[index] ?? 0) + value);
      return own;
    },
    result: async () => additive.numbers(sums),
  };
}

/** Returns the sample for each value of `needs`; null if what it needs was not computed. */
function samplesFor({ sample, reply, likelihoods, choices }: ComputedSample): {
  readonly [N in MetricNeeds]: MetricSamples[N] | null;
} {
  return {
    none: sample,
    replies: reply === undefined ? null : { ...sample, reply },
    logProbabilities: likelihoods === undefined ? null : { ...sample, likelihoods },
    choices: choices === undefined ? null : { ...sample, choices, answer: choicesOf(sample).answer },
  };
}

const failed = (message: string, options: WhetstoneErrorOptions): WhetstoneError =>
  new WhetstoneError('PLUGIN_FAILED', message, options);

/** Calls a method of a metric. A promise that takes too long is a failure. */
async function naming<T>(
  plugin: string,
  sample: MetricSample | null,
  seconds: number,
  call: () => Promise<T>,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`It did not finish within ${seconds} seconds.`)), seconds * 1000);
  });
  try {
    return await Promise.race([call(), late]);
  } catch (cause) {
    throw failureOf(plugin, sample, cause);
  } finally {
    clearTimeout(timer);
  }
}

/** Returns the error of a metric. An error without a code gets the metric's name, and the place of the sample. */
function failureOf(plugin: string, sample: MetricSample | null, cause: unknown): WhetstoneError {
  if (isWhetstoneError(cause)) return cause;
  return failed(`The metric '${plugin}' failed: ${messageOf(cause)}`, { place: placeOf(sample), cause });
}

function placeOf(sample: MetricSample | null): { readonly file: string; readonly line?: number } | undefined {
  const { file, line } = sample?.conversation.origin ?? {};
  return file === undefined ? undefined : { file, line };
}

/** Returns the numbers that a metric returned, by name. */
function numbersOf(plugin: string, result: unknown): readonly (readonly [string, number])[] {
  if (!isRecord(result))
    throw failed(`The result of the metric '${plugin}' is not an object.`, {
      expected: 'finite numbers by name',
      found: describeFound(result),
    });
  return Object.entries(result).map(([name, value]) => {
    if (typeof value !== 'number' || !Number.isFinite(value))
      throw failed(`The metric '${plugin}' returned a value for "${name}" that is not a finite number.`, {
        expected: 'a finite number, or no value for this name',
        found: describeFound(value),
      });
    return [name, value];
  });
}
