import type { ConfigResolution } from '../../config/index.js';
import type { PluginUse, ResolvedConfig } from '../../config/types.js';
import {
  BATCH_SOURCE_FACTORY,
  EVAL_DATA,
  EVAL_SOURCE,
  LOADED_MODEL,
  LOGGER,
  RANDOM,
  TENSOR_BACKEND,
  TRAIN_DATA,
  TRAIN_SOURCE,
  WhetstoneError,
  defineToken,
  type Batch,
  type BatchOptions,
  type BatchSource,
  type BatchSourceDependencies,
  type DataSource,
  type DataTransform,
  type Metric,
  type StrategyRun,
  type Token,
} from '../../contract/index.js';
import { provideFactory, type ServiceRegistration, type Services } from '../../container.js';
import { rowLosses } from '../../training/row-losses.js';
import type { Named } from '../../training/named.js';
import type { TrainRun } from '../../training/train-run.js';
import { batchOptions, furtherData, heldOutOf } from '../batch-options.js';
import { composeMetrics } from '../metric-evaluation.js';
import { RUN_LOGGER, throwIfAborted, type RunContext } from './context.js';
import { PLUGINS } from './plugins.js';

/** The transforms of the configuration. */
const TRANSFORMS: Token<readonly DataTransform[]> = defineToken('TRANSFORMS');

/** Registers the sources of conversations, their transforms, and the batches. */
export const dataServices = (context: RunContext): readonly ServiceRegistration[] => {
  const { config } = context.resolution;
  const { data } = config;
  const sourceOf = async (services: Services, use: PluginUse | null, key: string): Promise<DataSource | null> =>
    use === null ? null : (await services.resolve(PLUGINS)).create('data-source', use, ['data', key, 'options']);
  return [
    provideFactory(TRAIN_SOURCE, (services) => sourceOf(services, data.train, 'train')),
    provideFactory(EVAL_SOURCE, (services) =>
      data.evalShare === null ? sourceOf(services, data.eval, 'eval') : services.resolve(TRAIN_SOURCE),
    ),
    provideFactory(TRANSFORMS, async (services) =>
      (await services.resolve(PLUGINS)).createAll('data-transform', data.transforms, ['data', 'transforms']),
    ),
    provideFactory(EVAL_DATA, async (services) => {
      const source = await services.resolve(EVAL_SOURCE);
      return source === null ? null : createBatches(services, context, source, 'eval');
    }),
    provideFactory(TRAIN_DATA, async (services) => {
      const source = await services.resolve(TRAIN_SOURCE);
      if (source === null)
        throw new WhetstoneError('DATA_EMPTY', 'The service TRAIN_SOURCE is null, so there is nothing to train on.', {
          hint: 'Register TRAIN_SOURCE or TRAIN_DATA.',
        });
      return createBatches(services, context, source, 'train', {
        ...heldOutOf(config, await services.resolve(EVAL_DATA)),
        qualityGate: data.qualityGate,
      });
    }),
  ];
};

/** Makes the batches of a source, with the tokenizer, chat template, transforms and seed of the run. */
async function batchesOf(
  services: Services,
  source: DataSource,
  dependencies: Omit<BatchSourceDependencies, 'tokenizer' | 'renderer'>,
  options: BatchOptions,
): Promise<BatchSource> {
  const { tokenizer, renderer } = await services.resolve(LOADED_MODEL);
  const factory = await services.resolve(BATCH_SOURCE_FACTORY);
  const { dataSeed } = await services.resolve(RANDOM);
  return factory.create(source, { tokenizer, renderer, ...dependencies }, { ...options, seed: dataSeed });
}

/**
 * Returns the transforms of the training or evaluation data. The first one selects the part, if a share of the training
 * files is held out.
 *
 * @throws `CONFIG_CONFLICT` if the application's factory of batches cannot hold out a share
 */
async function transformsOf(
  services: Services,
  { data: { evalShare } }: Pick<ResolvedConfig, 'data'>,
  part: BatchOptions['purpose'],
): Promise<readonly DataTransform[]> {
  const transforms = await services.resolve(TRANSFORMS);
  if (evalShare === null) return transforms;
  const factory = await services.resolve(BATCH_SOURCE_FACTORY);
  const { dataSeed } = await services.resolve(RANDOM);
  if (factory.split === undefined)
    throw new WhetstoneError('CONFIG_CONFLICT', 'The service BATCH_SOURCE_FACTORY cannot hold out a share.', {
      place: { path: 'data.evalShare' },
      expected: 'a factory with the method split',
    });
  return [await factory.split({ part, share: evalShare, seed: dataSeed }), ...transforms];
}

/** Makes the batches of the training or evaluation data. */
async function createBatches(
  services: Services,
  { resolution, signal }: RunContext,
  source: DataSource,
  purpose: BatchOptions['purpose'],
  further: Pick<BatchSourceDependencies, 'heldOut' | 'qualityGate'> = {},
): Promise<BatchSource> {
  const { model } = await services.resolve(LOADED_MODEL);
  const backend = await services.resolve(TENSOR_BACKEND);
  const configured = resolution.config.data.transforms.map(({ use, options }) => ({
    version: resolution.pluginFor('data-transform', use).version ?? null,
    options,
  }));
  const transforms = await transformsOf(services, resolution.config, purpose);
  const { evalShare } = resolution.config.data;
  const dependencies = {
    logger: services.get(RUN_LOGGER),
    transforms,
    transformOrigins:
      evalShare === null
        ? configured
        : [{ version: null, options: { part: purpose, share: evalShare } }, ...configured],
    signal,
    rowLosses: (batch: Batch) => rowLosses(model, batch, backend),
    ...further,
  };
  return batchesOf(services, source, dependencies, batchOptions(resolution.config, purpose));
}

/** Creates the sources of the data, so that missing files are reported before the model is loaded. */
export async function openSources(services: Services): Promise<void> {
  await services.resolve(TRAIN_SOURCE);
  await services.resolve(EVAL_SOURCE);
}

/** Makes the batches of a run, and the metrics of its evaluations. */
export async function composeData(
  context: RunContext,
  services: Services,
  configured: readonly Named<Metric>[],
  virtualTokens: number,
): Promise<Pick<TrainRun, 'trainData' | 'evalData' | 'metrics' | 'openData'>> {
  const { resolution } = context;
  const transforms = await transformsOf(services, resolution.config, 'eval');
  // Evaluation data first, because the training data must not repeat it.
  const evalData = await services.resolve(EVAL_DATA);
  const evalSource = await services.resolve(EVAL_SOURCE);
  const metrics = await composeMetrics(resolution, services, evalSource, transforms, configured);
  const trainData = await services.resolve(TRAIN_DATA);
  const { model } = await services.resolve(LOADED_MODEL);
  for (const message of contextWarnings(
    resolution,
    model.maxLength - virtualTokens,
    [trainData, evalData],
    virtualTokens,
  ))
    services.get(RUN_LOGGER).warn(message);
  throwIfAborted(context);
  return { trainData, evalData, metrics, openData: openFurtherData(resolution, services) };
}

/**
 * Returns a function that opens additional data of a strategy, such as the old task of ewc or the samples of replay. It
 * is read as the training data.
 */
const openFurtherData =
  ({ config, openPlugin }: ConfigResolution, services: Services): NonNullable<StrategyRun['openData']> =>
  async (data, { batchSize, shuffled = false, learned = false, title = 'further data' }) => {
    const further = furtherData(data, config.data.train);
    const { plugin, options } = await openPlugin('data-source', further.use, further.options, ['data']);
    const { maker } = await services.resolve(PLUGINS);
    const source = await maker.create('data-source', plugin, options, ['data']);
    const heldOut = learned ? heldOutOf(config, await services.resolve(EVAL_DATA)) : {};
    return batchesOf(
      services,
      source,
      { logger: services.get(LOGGER), transforms: await services.resolve(TRANSFORMS), title, ...heldOut },
      { ...batchOptions(config, 'eval'), batchSize, shuffleDataset: shuffled },
    );
  };

/**
 * Returns warnings about lengths beyond the model's context, whether configured or found in the data. Rotary positions
 * continue beyond it, but the model was not trained on them.
 */
function contextWarnings(
  { config, wasWritten }: Pick<ConfigResolution, 'config' | 'wasWritten'>,
  context: number,
  sources: readonly (BatchSource | null)[],
  virtualTokens: number,
): readonly string[] {
  const { maxLength } = config.data;
  const origin =
    virtualTokens === 0
      ? '(max_position_embeddings)'
      : `(max_position_embeddings, less ${virtualTokens} virtual tokens)`;
  const hint = `Set data.maxLength to at most ${context}.`;
  const limit = `${context} tokens ${origin}. ${hint}`;
  if (wasWritten(['data', 'maxLength']) && maxLength !== null && maxLength > context)
    return [`data.maxLength is ${maxLength}, but the model's context is ${limit}`];
  const longest = Math.max(0, ...sources.map((source) => source?.summary.longest ?? 0));
  return longest > context
    ? [`The longest conversation has ${longest} tokens, but the model's context is ${limit}`]
    : [];
}
