import { validateAgainst } from '@whetstone/core/config';
import { anyNeeds, evaluate, measureMetrics, type MeasuredSample, type Named } from '@whetstone/core/training';
import { exists } from '@whetstone/core/files';
import { validateMetric } from '@whetstone/core/plugins';
import {
  WhetstoneError,
  type DataSource,
  type EvaluationReport,
  type Logger,
  type Metric,
  type Plugin,
  type ReplyGenerator,
} from '@whetstone/core/contract';
import { bootstrapIntervals, type Interval } from '@whetstone/evaluation';
import { createBatchSource, createConversationSource } from '@whetstone/data';
import type { LayoutName } from '@whetstone/data/choices';
import { replyGenerator } from '../built-ins.js';
import { compareSamples, comparisonTable, intervalText, type ComparedNumber } from '../evaluation/comparison.js';
import {
  checkSameSample,
  createSamplesFile,
  lineOf,
  readSamplesFile,
  type SampleStatistics,
  type SamplesFile,
  type SamplesHeader,
} from '../evaluation/samples-file.js';
import { table } from '../format.js';
import { listenForInterrupt } from '../interrupt.js';
import { loadPlugins, type PluginOptions } from '../load-plugins.js';
import { openModel, type OpenModel, type OpenModelOptions } from '../open-model.js';
import { generationOptions, type SamplingOptions } from '../sampling.js';
import { createTerminal, terminalLogger, type Terminal } from '../terminal.js';

export interface EvaluateOptions extends OpenModelOptions, PluginOptions, SamplingOptions {
  readonly data: readonly string[];
  readonly layout?: string;
  readonly maxLength: number;
  readonly batchSize: number;
  /** Metrics: built-in names, packages, files, or JSON with options. */
  readonly metric: readonly string[];
  /** Longest time of a metric for one sample, in seconds. */
  readonly metricTimeout: number;
  /** Whether a metric that fails is left out instead of ending the evaluation. */
  readonly skipFailedMetrics?: boolean;
  /** Maximum number of conversations for which replies are generated. */
  readonly replies: number;
  /** File that receives each sample, as JSON Lines. */
  readonly samples?: string;
  /** Whether to continue the samples file of an evaluation that was interrupted. */
  readonly resume?: boolean;
  /** The samples file of another model, to compare with. */
  readonly compare?: string;
  readonly json?: boolean;
}

async function createMetric(given: string, logger: Logger): Promise<Named<Metric>> {
  const { use, options } = given.trimStart().startsWith('{') ? parseUse(given) : { use: given, options: {} };
  const [plugin] = (await loadPlugins('metric', [use])) as [Plugin<'metric'>];
  const [problem, ...others] = validateAgainst(plugin.configSchema, options);
  if (problem !== undefined)
    throw new WhetstoneError(
      'CONFIG_INVALID',
      `The options of the metric ${plugin.name} are invalid: ${problem.message}`,
      { ...problem, problems: others },
    );
  const metric: unknown = await plugin.create(options as never, {
    logger,
    seed: 42,
    baseFolder: process.cwd(),
    outputFolder: null,
  });
  validateMetric(metric, plugin.name);
  return { plugin: plugin.name, instance: metric };
}

function parseUse(text: string): { readonly use: string; readonly options: object } {
  try {
    const { use, options = {} } = JSON.parse(text) as { readonly use?: unknown; readonly options?: object };
    if (typeof use === 'string') return { use, options };
  } catch {
    // Reported below.
  }
  throw new WhetstoneError(
    'USAGE',
    'A metric is a name, a package, a file, or JSON as {"use": "distinct-n", "options": {"orders": [3]}}.',
    { found: text },
  );
}

/** What the command measures, and on what. */
interface Subject {
  readonly opened: OpenModel;
  readonly source: DataSource;
  readonly metrics: readonly Named<Metric>[];
  readonly options: EvaluateOptions;
  readonly signal: AbortSignal;
  /** The samples file that the evaluation continues. */
  readonly resumed: SamplesFile | null;
  /** The samples file of another model. */
  readonly compared: SamplesFile | null;
}

const interrupted = (cause?: unknown): WhetstoneError =>
  new WhetstoneError('INTERRUPTED', 'The evaluation was interrupted.', { cause });

/**
 * `whetstone evaluate MODEL --data FILES`: measures the loss of the data's replies, and metrics of the model's own
 * replies.
 */
export async function evaluateModel(model: string, options: EvaluateOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const logger = terminalLogger(terminal);
  if (options.data.length === 0)
    throw new WhetstoneError('USAGE', 'No evaluation data was given.', { hint: 'Pass files with --data.' });
  const metrics = await Promise.all(options.metric.map((name) => createMetric(name, logger)));
  const resumed = await fileToResume(headerOf(model, options), options);
  const compared = await fileToCompare(options, metrics);
  const source = await createConversationSource(
    { path: options.data, layout: (options.layout ?? 'auto') as LayoutName | 'auto' },
    process.cwd(),
  );
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const opened = await openModel(model, { ...options, plugins: await loadPlugins('strategy', options.plugin) });
  try {
    const subject: Subject = { opened, source, metrics, options, signal: interrupt.signal, resumed, compared };
    const loss = await measureLoss(subject, logger);
    // The texts are kept only for the JSON object.
    const measured = await measureSamples(subject, headerOf(model, options), {
      keepsPairs: terminal.json,
      logger,
    });
    printResults(terminal, subject, loss, measured);
  } catch (error) {
    throw interrupt.signal.aborted ? interrupted(error) : error;
  } finally {
    interrupt.close();
    opened.dispose();
  }
}

/** Returns the first line of the samples file of an evaluation. */
function headerOf(model: string, options: EvaluateOptions): SamplesHeader {
  const { data, layout = null, metric, maxLength, replies, chatTemplate = null, adapter = null } = options;
  const generation = JSON.parse(JSON.stringify(generationOptions(options))) as Record<string, number>;
  const own = { data: [...data], layout, metrics: [...metric], maxLength, replies, chatTemplate, generation };
  return { formatVersion: 1, model, adapter, options: own };
}

/**
 * Returns the samples file that is continued; null if a new one is written, or none.
 *
 * @throws `OUTPUT_EXISTS` if the file exists and is not continued
 * @throws `SAMPLES_DIFFER` if another evaluation wrote it
 */
async function fileToResume(header: SamplesHeader, { samples, resume }: EvaluateOptions): Promise<SamplesFile | null> {
  if (samples === undefined) {
    if (resume === true)
      throw new WhetstoneError('USAGE', '--resume has no effect without a samples file.', { hint: 'Add --samples.' });
    return null;
  }
  if (resume !== true) {
    if (exists(samples))
      throw new WhetstoneError('OUTPUT_EXISTS', 'The samples file exists.', {
        place: { file: samples },
        hint: 'Continue it with --resume, remove it, or write to another file.',
      });
    return null;
  }
  const file = await readSamplesFile(samples);
  if (file !== null && JSON.stringify(file.header) !== JSON.stringify(header))
    throw new WhetstoneError('SAMPLES_DIFFER', 'Another evaluation wrote the samples file.', {
      place: { file: samples, line: 1 },
      expected: JSON.stringify(header),
      found: JSON.stringify(file.header),
      hint: 'Repeat the command with its options, or write to another file.',
    });
  return file;
}

async function fileToCompare(
  { compare }: EvaluateOptions,
  metrics: readonly Named<Metric>[],
): Promise<SamplesFile | null> {
  if (compare === undefined) return null;
  if (!metrics.some(({ instance }) => instance.additive !== undefined))
    throw new WhetstoneError('USAGE', 'Nothing can be compared: no metric has numbers of single samples.', {
      hint: 'Pass a metric such as --metric chrf.',
    });
  const file = await readSamplesFile(compare);
  if (file === null)
    throw new WhetstoneError('FILE_NOT_FOUND', 'The samples file to compare with does not exist.', {
      place: { file: compare },
    });
  return file;
}

/** The loss of the replies in the data. */
interface MeasuredLoss extends EvaluationReport {
  readonly intervals: Readonly<Record<string, Interval>>;
}

/**
 * Measures the loss of the replies in the data.
 *
 * @throws `INTERRUPTED` if the signal is aborted
 */
async function measureLoss({ opened, source, options, signal }: Subject, logger: Logger): Promise<MeasuredLoss> {
  const { model, backend, tokenizer, renderer } = opened;
  const data = await createBatchSource({
    source,
    tokenizer,
    renderer,
    options: {
      batchSize: options.batchSize,
      maxLength: options.maxLength,
      shuffleDataset: false,
      samplesWithoutTargets: 'skip',
    },
    onWarning: (message) => logger.warn(message),
  });
  const rows: (readonly number[])[] = [];
  const onRows: Parameters<typeof evaluate>[0]['onRows'] = (losses) => {
    for (const { sum, weight } of losses) rows.push([sum, weight]);
  };
  const report = await evaluate({ model, data, backend, signal, onRows }, { step: 0, epoch: 0 });
  if (report === null) throw interrupted();
  const numbers = ([sum = 0, weight = 0]: readonly number[]): Record<string, number> => {
    const loss = sum / weight;
    return { loss, perplexity: Math.exp(loss) };
  };
  return { ...report, intervals: bootstrapIntervals(rows, numbers, { seed: options.seed }) };
}

/** The values of the metrics, and the samples for which they were computed. */
interface MeasuredSamples {
  readonly values: Readonly<Record<string, number>>;
  readonly intervals: Readonly<Record<string, Interval>>;
  readonly count: number;
  /** The replies and their references; empty if they are not kept. */
  readonly pairs: readonly { readonly prediction: string; readonly reference: string }[];
  readonly comparison: Readonly<Record<string, ComparedNumber>> | null;
}

/**
 * Computes the metrics. Generates replies only if a metric needs them.
 *
 * @throws `INTERRUPTED` if the signal is aborted
 * @throws `SAMPLES_DIFFER` if a samples file belongs to other samples
 */
async function measureSamples(
  subject: Subject,
  header: SamplesHeader,
  { keepsPairs, logger }: { readonly keepsPairs: boolean; readonly logger: Logger },
): Promise<MeasuredSamples> {
  const { opened, source, metrics, options, signal, resumed, compared } = subject;
  const { batchSize, maxLength, maxNewTokens } = options;
  const kept = resumed?.lines ?? [];
  const writer = options.samples === undefined ? null : await createSamplesFile(options.samples, header, kept);
  const samples: SampleStatistics[] = [];
  const pairs: MeasuredSamples['pairs'][number][] = [];
  let count = 0;
  const values = await measureMetrics(
    opened,
    {
      metrics,
      conversations: () => source.conversations(),
      replies: anyNeeds(metrics, 'replies')
        ? { generate: resumedGenerator(options, resumed), most: options.replies, maxNewTokens }
        : null,
      batchSize,
      maxLength,
    },
    {
      backend: opened.backend,
      signal,
      limits: {
        secondsPerCall: options.metricTimeout,
        ...(options.skipFailedMetrics === true && { onFailure: (error) => logger.warn(error.message) }),
      },
      onSample: async (measured: MeasuredSample) => {
        const line = lineOf(measured, metrics, samples.length);
        const isKept = line.index < kept.length;
        if (isKept && resumed !== null) checkSameSample(resumed, kept[line.index], measured.sample);
        if (compared !== null) checkSameSample(compared, compared.lines[line.index], measured.sample);
        samples.push({ index: line.index, statistics: line.statistics });
        if (line.reply !== null) {
          count++;
          if (keepsPairs) pairs.push({ prediction: line.reply, reference: line.reference });
        }
        if (!isKept) await writer?.add(line);
      },
    },
  );
  if (values === null) throw interrupted();
  const seed = { seed: options.seed };
  return {
    values,
    count,
    pairs,
    intervals: onlyMeasured(intervalsOf(samples, metrics, seed), values),
    comparison: compared === null ? null : onlyMeasured(compareSamples(compared, samples, metrics, seed), values),
  };
}

/** Returns the entries for numbers that were measured: not those of a metric that failed after some samples. */
const onlyMeasured = <T>(
  entries: Readonly<Record<string, T>>,
  values: Readonly<Record<string, number>>,
): Readonly<Record<string, T>> =>
  Object.fromEntries(Object.entries(entries).filter(([name]) => Object.hasOwn(values, name)));

/** Returns the intervals of the numbers of additive metrics. */
function intervalsOf(
  samples: readonly SampleStatistics[],
  metrics: readonly Named<Metric>[],
  options: { readonly seed: number },
): Readonly<Record<string, Interval>> {
  const all = metrics.map(({ plugin, instance: { additive } }) => {
    const rows = samples.flatMap(({ statistics }) => {
      const own = statistics[plugin];
      return own === undefined ? [] : [own];
    });
    return additive === undefined ? {} : bootstrapIntervals(rows, (sums) => additive.numbers(sums), options);
  });
  return Object.assign({}, ...all) as Readonly<Record<string, Interval>>;
}

/** Returns the replies of a samples file, and generates only those that it lacks. */
function resumedGenerator(options: SamplingOptions, resumed: SamplesFile | null): ReplyGenerator {
  const generate = replyGenerator(generationOptions(options));
  const known = (resumed?.lines ?? []).flatMap(({ reply }) => (reply === null ? [] : [reply]));
  return async (loaded, conversations, limits) => {
    const kept = known.splice(0, conversations.length);
    const others = conversations.slice(kept.length);
    return others.length === 0 ? kept : [...kept, ...(await generate(loaded, others, limits))];
  };
}

/** Prints the results as a table, and as the JSON object of `--json`. */
function printResults(
  terminal: Terminal,
  { opened, options }: Subject,
  { loss, perplexity, supervisedTokens, samples, seconds, intervals: ofLoss }: MeasuredLoss,
  { values, intervals, count, pairs, comparison }: MeasuredSamples,
): void {
  const all = { ...ofLoss, ...intervals };
  const row = (name: string, value: string): string[] => [name, value, ...(all[name] ? [intervalText(all[name])] : [])];
  terminal.line(
    table([
      row('loss', loss.toFixed(4)),
      row('perplexity', perplexity.toFixed(3)),
      ['tokens', String(supervisedTokens)],
      ['conversations', String(samples)],
      ...(count === 0 ? [] : [['replies', String(count)]]),
      ...Object.entries(values).map(([name, value]) => row(name, value.toPrecision(4))),
    ]),
  );
  if (comparison !== null) terminal.line(`\n${comparisonTable(comparison)}`);
  terminal.result({
    model: opened.folder,
    adapter: options.adapter ?? null,
    loss,
    perplexity,
    supervisedTokens,
    samples,
    seconds,
    metrics: values,
    intervals: all,
    comparison,
    replies: pairs,
    backend: opened.backend.backend,
    engine: opened.backend.engine,
  });
}
