import { validateAgainst } from '@whetstone/core/config';
import { anyNeeds, evaluate, measureMetrics, type Named, type ReplyPair } from '@whetstone/core/training';
import { validateMetric } from '@whetstone/core/plugins';
import { WhetstoneError, type Logger, type Metric, type Plugin } from '@whetstone/core/contract';
import { createBatchSource, createConversationSource } from '@whetstone/data';
import type { LayoutName } from '@whetstone/data/choices';
import { replyGenerator } from '../built-ins.js';
import { table } from '../format.js';
import { listenForInterrupt } from '../interrupt.js';
import { loadPlugins, type PluginOptions } from '../load-plugins.js';
import { openModel, type OpenModelOptions } from '../open-model.js';
import { generationOptions, type SamplingOptions } from '../sampling.js';
import { createTerminal, terminalLogger } from '../terminal.js';

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
    const { tokenizer, renderer } = opened;
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
    const report = await evaluate(
      {
        model: opened.model,
        data,
        backend: opened.backend,
        clock: { now: () => performance.now() / 1000, timestamp: () => new Date().toISOString() },
        signal: interrupt.signal,
      },
      { step: 0, epoch: 0 },
    );
    if (report === null) throw new WhetstoneError('INTERRUPTED', 'The evaluation was interrupted.');
    const needsReplies = anyNeeds(metrics, 'replies');
    let replies = 0;
    // The texts are kept only for the JSON object.
    const pairs: ReplyPair[] = [];
    const onReply = (pair: ReplyPair): void => {
      replies++;
      if (terminal.json) pairs.push(pair);
    };
    const values = await measureMetrics(
      opened,
      {
        metrics,
        conversations: () => source.conversations(),
        replies: needsReplies
          ? {
              generate: replyGenerator(generationOptions(options)),
              most: options.replies,
              maxNewTokens: options.maxNewTokens,
            }
          : null,
        batchSize: options.batchSize,
        maxLength: options.maxLength,
      },
      { backend: opened.backend, signal: interrupt.signal, onReply },
    );
    if (values === null) throw new WhetstoneError('INTERRUPTED', 'The evaluation was interrupted.');
    terminal.line(
      table([
        ['loss', report.loss.toFixed(4)],
        ['perplexity', report.perplexity.toFixed(3)],
        ['tokens', String(report.supervisedTokens)],
        ['conversations', String(report.samples)],
        ...(replies === 0 ? [] : [['replies', String(replies)]]),
        ...Object.entries(values).map(([name, value]) => [name, value.toPrecision(4)]),
      ]),
    );
    terminal.result({
      model: opened.folder,
      adapter: options.adapter ?? null,
      loss: report.loss,
      perplexity: report.perplexity,
      supervisedTokens: report.supervisedTokens,
      samples: report.samples,
      seconds: report.seconds,
      metrics: values,
      replies: pairs,
      backend: opened.backend.backend,
      engine: opened.backend.engine,
    });
  } catch (error) {
    if (interrupt.signal.aborted)
      throw new WhetstoneError('INTERRUPTED', 'The evaluation was interrupted.', { cause: error });
    throw error;
  } finally {
    interrupt.close();
    opened.dispose();
  }
}
