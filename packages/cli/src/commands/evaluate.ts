import { validateAgainst } from '@whetstone/core/config';
import { anyNeeds, evaluate, measureMetrics, type Named, type ReplyPair } from '@whetstone/core/training';
import { validateMetric } from '@whetstone/core/plugins';
import {
  WhetstoneError,
  type DataSource,
  type EvaluationReport,
  type Logger,
  type Metric,
  type Plugin,
} from '@whetstone/core/contract';
import { createBatchSource, createConversationSource } from '@whetstone/data';
import type { LayoutName } from '@whetstone/data/choices';
import { replyGenerator } from '../built-ins.js';
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
  /** Maximum number of conversations for which replies are generated. */
  readonly replies: number;
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
  const source = await createConversationSource(
    { path: options.data, layout: (options.layout ?? 'auto') as LayoutName | 'auto' },
    process.cwd(),
  );
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const opened = await openModel(model, { ...options, plugins: await loadPlugins('strategy', options.plugin) });
  try {
    const subject: Subject = { opened, source, metrics, options, signal: interrupt.signal };
    const loss = await measureLoss(subject, logger);
    // The texts are kept only for the JSON object.
    const measured = await measureReplies(subject, terminal.json);
    printResults(terminal, subject, loss, measured);
  } catch (error) {
    throw interrupt.signal.aborted ? interrupted(error) : error;
  } finally {
    interrupt.close();
    opened.dispose();
  }
}

/**
 * Measures the loss of the replies in the data.
 *
 * @throws `INTERRUPTED` if the signal is aborted
 */
async function measureLoss({ opened, source, options, signal }: Subject, logger: Logger): Promise<EvaluationReport> {
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
  const report = await evaluate({ model, data, backend, signal }, { step: 0, epoch: 0 });
  if (report === null) throw interrupted();
  return report;
}

/** The values of the metrics, and the replies that were generated for them. */
interface MeasuredReplies {
  readonly values: Readonly<Record<string, number>>;
  readonly count: number;
  /** The replies and their references; empty if they are not kept. */
  readonly pairs: readonly ReplyPair[];
}

/**
 * Computes the metrics. Generates replies only if a metric needs them.
 *
 * @throws `INTERRUPTED` if the signal is aborted
 */
async function measureReplies(subject: Subject, keepsPairs: boolean): Promise<MeasuredReplies> {
  const { opened, source, metrics, options, signal } = subject;
  const { batchSize, maxLength, maxNewTokens } = options;
  let count = 0;
  const pairs: ReplyPair[] = [];
  const values = await measureMetrics(
    opened,
    {
      metrics,
      conversations: () => source.conversations(),
      replies: anyNeeds(metrics, 'replies')
        ? { generate: replyGenerator(generationOptions(options)), most: options.replies, maxNewTokens }
        : null,
      batchSize,
      maxLength,
    },
    {
      backend: opened.backend,
      signal,
      onReply: (pair) => {
        count++;
        if (keepsPairs) pairs.push(pair);
      },
    },
  );
  if (values === null) throw interrupted();
  return { values, count, pairs };
}

/** Prints the results as a table, and as the JSON object of `--json`. */
function printResults(
  terminal: Terminal,
  { opened, options }: Subject,
  { loss, perplexity, supervisedTokens, samples, seconds }: EvaluationReport,
  { values, count, pairs }: MeasuredReplies,
): void {
  terminal.line(
    table([
      ['loss', loss.toFixed(4)],
      ['perplexity', perplexity.toFixed(3)],
      ['tokens', String(supervisedTokens)],
      ['conversations', String(samples)],
      ...(count === 0 ? [] : [['replies', String(count)]]),
      ...Object.entries(values).map(([name, value]) => [name, value.toPrecision(4)]),
    ]),
  );
  terminal.result({
    model: opened.folder,
    adapter: options.adapter ?? null,
    loss,
    perplexity,
    supervisedTokens,
    samples,
    seconds,
    metrics: values,
    replies: pairs,
    backend: opened.backend.backend,
    engine: opened.backend.engine,
  });
}
