import {
  BATCH_SOURCE_FACTORY,
  CLOCK,
  EVAL_DATA,
  isWhetstoneError,
  LOADED_MODEL,
  LOGGER,
  MODEL_LOADER,
  TEXT_GENERATORS,
  TRAIN_DATA,
  WhetstoneError,
  type BatchSource,
  type BatchSourceDependencies,
  type Callback,
  type DataSource,
  type DataTransform,
  type Json,
  type LoadedModel,
  type ModelLoader,
  type ModelOutline,
  type PluginInstances,
  type PluginKind,
  type Strategy,
  type StrategyRun,
  type WeightStorage,
} from '../contract/index.js';
import { CHECKPOINT_STORE } from '../checkpoint/index.js';
import type { ConfigResolution } from '../config/resolve-config.js';
import type { Path } from '../config/paths.js';
import type { FlatPluginUse, PluginUse, ResolvedConfig } from '../config/types.js';
import type { RunServices } from '../container.js';
import type { Named } from '../training/named.js';
import type { RunStage, TrainRun } from '../training/train-run.js';
import {
  CLUSTER,
  createWorkers,
  explainFailure,
  joinCluster,
  singleWorker,
  workerName,
  type Rendezvous,
} from '../distributed/index.js';
import { rowLosses } from '../training/row-losses.js';
import { eventCallback, type EventHub } from '../events.js';
import { createHookRunner, type HookedCallback } from '../hooks/index.js';
import { batchOptions, furtherData, heldOutOf } from './batch-options.js';
import { useBackend } from './backend-use.js';
import { float32StorageWarning } from './float32-storage.js';
import { composeMetrics } from './metric-evaluation.js';
import { createPluginMaker, type PluginMaker } from './create-plugin.js';
import { checkOutputFolder, claimOutputFolder, saveDataManifest } from './output-folder.js';

export interface ComposeOptions {
  readonly resolution: ConfigResolution;
  readonly services: RunServices;
  readonly events: EventHub;
  /** Callbacks given as objects, after those of the configuration. */
  readonly callbacks: readonly Callback[];
  readonly signal: AbortSignal;
  /** Set if the run is one of several stages. The model and the program's callbacks then outlive it. */
  readonly stage?: StageComposition;
  /** Called as soon as the model is loaded. If given, the caller disposes the model. */
  readonly useModel?: (loaded: LoadedModel, isOurs: boolean) => void;
}

export interface StageComposition {
  readonly run: RunStage;
  readonly isLast: boolean;
  /** Called once the stage may claim its folder. */
  claimOutput?(): Promise<void>;
}

/** A run that is ready to start. */
export interface ComposedRun {
  readonly run: TrainRun;
  readonly maker: PluginMaker;
  /** Returns the error to report for an error of this process. Another worker may have caused it. */
  explain(error: unknown): Promise<unknown>;
  dispose(): void;
}

/** Runs actions in reverse order. All of them run; the first error is thrown. */
function createUndo(): { add(action: () => void): void; undo(): void } {
  const actions: (() => void)[] = [];
  return {
    add: (action) => void actions.push(action),
    undo: () => {
      const failures: unknown[] = [];
      for (let action = actions.pop(); action !== undefined; action = actions.pop()) {
        try {
          action();
        } catch (failure) {
          failures.push(failure);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}

/**
 * Builds a run from its configuration. Components are built in order of cost, so that mistakes fail early: output
 * folder, backend, plugins, data sources, model, batches. On failure, all components built so far are disposed.
 */
export async function composeRun(options: ComposeOptions): Promise<ComposedRun> {
  const undo = createUndo();
  const cluster: ClusterConnection = { rendezvous: null };
  try {
    return await compose(options, undo, cluster);
  } catch (error) {
    const shown = cluster.rendezvous === null ? error : await explainFailure(cluster.rendezvous.client, error);
    try {
      undo.undo();
    } catch {
      // The first error is reported.
    }
    throw shown;
  }
}

/** The connection to the other workers; null before it is made, or in a run of one process. */
interface ClusterConnection {
  rendezvous: Rendezvous | null;
}

async function compose(
  { resolution, services, events, callbacks, signal, stage, useModel }: ComposeOptions,
  undo: ReturnType<typeof createUndo>,
  cluster: ClusterConnection,
): Promise<ComposedRun> {
  const { config } = resolution;
  const logger = services.get(LOGGER);
  const membership = services.has(CLUSTER) ? services.get(CLUSTER).membership() : null;
  const { ddpTimeout, ddpBucketCapMb } = config.training;
  // Only the worker of rank 0 writes.
  const outputFolder = membership === null || membership.rank === 0 ? config.output.folder : null;
  const warn = (message: string) => {
    logger.warn(message);
    events.emit('warning', { message });
  };
  const throwIfAborted = () => {
    if (signal.aborted)
      throw new WhetstoneError('INTERRUPTED', 'The run was interrupted before it started.', { cause: signal.reason });
  };
  for (const notice of resolution.notices) warn(notice);
  await checkOutputFolder(config);
  throwIfAborted();

  if (membership !== null) {
    cluster.rendezvous = await joinCluster(membership, {
      timeoutSeconds: ddpTimeout,
      settings: settingsOf(config),
      signal,
    });
    undo.add(cluster.rendezvous.leave);
    logger.info(`${membership.count} workers train together; this is ${workerName(membership, membership.rank)}.`);
  }
  const backend = await useBackend(config.backend, services, cluster.rendezvous?.cluster ?? null);
  undo.add(backend.release);
  const { collective } = backend.info;
  const workers =
    membership === null || cluster.rendezvous === null || collective === undefined
      ? singleWorker
      : createWorkers(
          cluster.rendezvous,
          workerName(membership, membership.rank),
          collective,
          ddpBucketCapMb * 2 ** 20,
        );
  throwIfAborted();

  const maker = createPluginMaker(
    {
      logger,
      seed: config.training.seed,
      baseFolder: config.baseFolder,
      outputFolder,
      ...(services.has(TEXT_GENERATORS) ? { openGenerator: services.get(TEXT_GENERATORS) } : {}),
    },
    resolution.wasWritten,
  );
  const make = async <K extends PluginKind>(
    kind: K,
    { use, options }: PluginUse,
    path: Path,
  ): Promise<Named<PluginInstances[K]>> => {
    const plugin = resolution.pluginFor(kind, use);
    return { plugin: plugin.name, instance: await maker.create(kind, plugin, options, path) };
  };
  const makeAll = async <K extends PluginKind>(
    kind: K,
    uses: readonly PluginUse[],
    path: Path,
  ): Promise<readonly Named<PluginInstances[K]>[]> => {
    const made: Named<PluginInstances[K]>[] = [];
    for (const [index, use] of uses.entries()) made.push(await make(kind, use, [...path, index, 'options']));
    return made;
  };

  const owner = requireRole(await make('strategy', config.strategy, ['strategy', 'options']), 'owner', 'strategy.use');
  const companions = (await makeAll('strategy', config.companions, ['companions'])).map((strategy, index) =>
    requireRole(strategy, 'companion', `companions[${index}].use`, owner.plugin),
  );
  const hooked: HookedCallback[] = [];
  for (const { plugin, instance } of [
    ...(await makeAll('callback', config.callbacks, ['callbacks'])),
    ...(workers.rank === 0 ? await makeAll('logger', config.loggers, ['loggers']) : []),
  ])
    hooked.push({ plugin, callback: instance });
  for (const [index, callback] of callbacks.entries())
    hooked.push({ plugin: `callbacks[${index}] of the program`, callback, stays: stage?.isLast === false });
  hooked.push({ plugin: 'events', callback: eventCallback(events.emit) });
  const runner = createHookRunner(hooked);
  undo.add(() => runner.dispose());
  throwIfAborted();

  const optimizer = await make('optimizer', optionsOf(config.optimizer, ['learningRate']), ['optimizer']);
  undo.add(() => optimizer.instance.dispose());
  const schedule = await make('schedule', optionsOf(config.schedule, []), ['schedule']);
  const metrics = await makeAll('metric', config.evaluation.metrics, ['evaluation', 'metrics']);
  const trainSource = services.has(TRAIN_DATA)
    ? null
    : (await make('data-source', config.data.train, ['data', 'train', 'options'])).instance;
  const evalSource =
    services.has(EVAL_DATA) || config.data.eval === null
      ? null
      : (await make('data-source', config.data.eval, ['data', 'eval', 'options'])).instance;
  throwIfAborted();

  const loader = await makeLoader(config, services, make);
  await planStrategies(await outlineOf(config, services, loader), owner, companions);
  throwIfAborted();
  const loaded = services.has(LOADED_MODEL)
    ? services.get(LOADED_MODEL)
    : await loadModel(config, owner.instance, loader ?? services.get(MODEL_LOADER));
  if (useModel !== undefined) useModel(loaded, !services.has(LOADED_MODEL));
  else if (!services.has(LOADED_MODEL)) undo.add(() => loaded.model.dispose());
  const storageWarning = float32StorageWarning(loaded.model, backend.info.backend);
  if (storageWarning !== null) warn(storageWarning);
  throwIfAborted();

  const transforms: DataTransform[] = [];
  const transformOrigins = config.data.transforms.map(({ use, options }) => ({
    version: resolution.pluginFor('data-transform', use).version ?? null,
    options,
  }));
  for (const [index, use] of config.data.transforms.entries())
    transforms.push((await make('data-transform', use, ['data', 'transforms', index, 'options'])).instance);
  const batches = (
    source: DataSource,
    purpose: 'train' | 'eval',
    further: Pick<BatchSourceDependencies, 'heldOut' | 'qualityGate'> = {},
  ) =>
    services.get(BATCH_SOURCE_FACTORY).create(
      source,
      {
        tokenizer: loaded.tokenizer,
        renderer: loaded.renderer,
        logger: { ...logger, warn },
        transforms,
        transformOrigins,
        signal,
        rowLosses: (batch) => rowLosses(loaded.model, batch, backend.info),
        ...further,
      },
      batchOptions(config, purpose),
    );
  // Evaluation data first, because the training data must not repeat it.
  const evalData: BatchSource | null =
    evalSource !== null ? await batches(evalSource, 'eval') : services.has(EVAL_DATA) ? services.get(EVAL_DATA) : null;
  const measured = await composeMetrics(config, services, evalSource, transforms, metrics);
  const heldOut = heldOutOf(config, evalData);
  // Additional data of a strategy, such as the old task of ewc or the samples of replay: read as the training data.
  const openData: NonNullable<StrategyRun['openData']> = async (
    data,
    { batchSize, shuffled = false, learned = false },
  ) => {
    const further = furtherData(data, config.data.train);
    const { plugin, options } = await resolution.openPlugin('data-source', further.use, further.options, ['data']);
    const source = await maker.create('data-source', plugin, options, ['data']);
    const dependencies = {
      tokenizer: loaded.tokenizer,
      renderer: loaded.renderer,
      logger,
      transforms,
      ...(learned ? heldOut : {}),
    };
    return services
      .get(BATCH_SOURCE_FACTORY)
      .create(source, dependencies, { ...batchOptions(config, 'eval'), batchSize, shuffleDataset: shuffled });
  };
  const trainData: BatchSource =
    trainSource === null
      ? services.get(TRAIN_DATA)
      : await batches(trainSource, 'train', { ...heldOut, qualityGate: config.data.qualityGate });
  for (const message of contextWarnings(
    config.data.maxLength,
    resolution.wasWritten(['data', 'maxLength']),
    loaded.model.maxLength,
    [trainData, evalData],
  ))
    warn(message);
  throwIfAborted();

  const run: TrainRun = {
    config,
    ...(stage === undefined ? {} : { stage: stage.run }),
    loaded,
    trainData,
    evalData,
    metrics: measured,
    owner,
    companions,
    hooks: runner,
    optimizer,
    schedule,
    backend: backend.info,
    checkpoints: services.get(CHECKPOINT_STORE),
    clock: services.get(CLOCK),
    logger,
    signal,
    outputFolder,
    warn,
    openData,
    workers,
    checkUnusedKeys: maker.checkUnusedKeys,
    claimOutput: async () => {
      if (workers.rank !== 0) return;
      await stage?.claimOutput?.();
      await claimOutputFolder(config);
      await saveDataManifest(outputFolder, trainData, evalData);
    },
  };
  const { rendezvous } = cluster;
  return {
    run,
    maker,
    explain: async (error) => (rendezvous === null ? error : explainFailure(rendezvous.client, error)),
    dispose: undo.undo,
  };
}

/**
 * Returns the settings that must be the same in all workers. Paths may differ: the first step reports different data.
 */
function settingsOf({
  backend,
  training,
  data,
  evaluation,
  optimizer,
  schedule,
  strategy,
  companions,
  callbacks,
}: ResolvedConfig): Readonly<Record<string, string>> {
  const { train: _train, eval: _evaluation, transforms: _transforms, ...batching } = data;
  const { resumeFromCheckpoint, ...steps } = training;
  const text = (value: unknown): string => JSON.stringify(value);
  return {
    training: text(steps),
    'training.resumeFromCheckpoint': text(resumeFromCheckpoint !== null && resumeFromCheckpoint !== false),
    data: text(batching),
    evaluation: text(evaluation),
    optimizer: text(optimizer),
    schedule: text(schedule),
    'backend.matmul': text(backend.matmul ?? null),
    strategy: text(strategy.use),
    companions: text(companions.map(({ use }) => use)),
    callbacks: text(callbacks),
  };
}

/**
 * Returns the strategy if it has this role.
 *
 * @param owner the owner's name, for the error of a companion
 * @throws `CONFIG_CONFLICT`
 */
function requireRole(strategy: Named<Strategy>, role: Strategy['role'], path: string, owner?: string): Named<Strategy> {
  if (strategy.instance.role === role) return strategy;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    role === 'owner'
      ? `'${strategy.plugin}' does not choose the trained parameters. It can only accompany a strategy that does.`
      : `'${strategy.plugin}' and '${owner ?? 'the strategy'}' both choose the trained parameters. Only one can.`,
    {
      place: { path },
      expected: role === 'owner' ? 'a strategy of the role owner' : 'a strategy of the role companion',
      found: `'${strategy.plugin}', role ${String(strategy.instance.role)}`,
      hint:
        role === 'owner'
          ? 'Move it to companions, and set the strategy to one like full or lora.'
          : 'Set it as the strategy, in place of the current one.',
    },
  );
}

/** Separates the options of a plugin from `use` and from the keys of the framework. */
function optionsOf(section: FlatPluginUse, frameworkKeys: readonly string[]): PluginUse {
  const options = Object.fromEntries(
    Object.entries(section).filter(([key]) => key !== 'use' && !frameworkKeys.includes(key)),
  );
  return { use: section.use, options };
}

function loadModel(config: ResolvedConfig, owner: Strategy, loader: ModelLoader): Promise<LoadedModel> {
  return loader.load(config.model.path ?? config.baseFolder, {
    chatTemplatePath: config.chatTemplatePath,
    storage: storageOf(config.model.dtype, owner),
    addTokens: config.model.addTokens,
  });
}

/** Returns the storage of each weight: the owner's choice, or that of the configuration. */
function storageOf(dtype: ResolvedConfig['model']['dtype'], owner: Strategy): WeightStorage {
  const configured = dtype === 'float32' ? null : dtype === 'auto' ? 'stored' : dtype;
  return (weight) => owner.storage?.(weight) ?? configured;
}

/**
 * Returns warnings about lengths beyond the model's context, whether configured or found in the data. Rotary positions
 * continue beyond it, but the model was not trained on them.
 */
function contextWarnings(
  maxLength: number | null,
  wasWritten: boolean,
  context: number,
  sources: readonly (BatchSource | null)[],
): string[] {
  const hint = `Set data.maxLength to at most ${context}.`;
  if (wasWritten && maxLength !== null && maxLength > context)
    return [
      `data.maxLength is ${maxLength}, but the model's context is ${context} tokens ` +
        `(max_position_embeddings). ${hint}`,
    ];
  const longest = Math.max(0, ...sources.map((source) => source?.summary.longest ?? 0));
  return longest > context
    ? [
        `The longest conversation has ${longest} tokens, but the model's context is ${context} ` +
          `(max_position_embeddings). ${hint}`,
      ]
    : [];
}

/** Creates the plugin that loads the model. Returns null if the model or the loader is a service. */
async function makeLoader(
  config: ResolvedConfig,
  services: RunServices,
  make: (kind: 'model', use: PluginUse, path: Path) => Promise<Named<PluginInstances['model']>>,
): Promise<ModelLoader | null> {
  const { use, options } = config.model;
  if (services.has(LOADED_MODEL) || use === null) return null;
  return (await make('model', { use, options: options as Record<string, Json> }, ['model', 'options'])).instance;
}

/** Returns the model's outline, without weights; null if the loader does not provide it. */
async function outlineOf(
  config: ResolvedConfig,
  services: RunServices,
  loader: ModelLoader | null,
): Promise<ModelOutline | null> {
  if (services.has(LOADED_MODEL)) return services.get(LOADED_MODEL).model;
  const { outline } = loader ?? services.get(MODEL_LOADER);
  return outline === undefined ? null : outline(config.model.path ?? config.baseFolder);
}

/** Adds the names of both strategies to a conflict. A companion knows the owner's plan, but not its name. */
function nameBothStrategies(cause: unknown, companion: string, owner: string, path: string): unknown {
  if (!isWhetstoneError(cause) || cause.code !== 'CONFIG_CONFLICT') return cause;
  const { place, expected, hint, problems, details } = cause;
  return new WhetstoneError('CONFIG_CONFLICT', cause.message, {
    place: { ...place, path },
    expected,
    found: `'${companion}' with '${owner}'`,
    hint,
    problems,
    details,
    cause,
  });
}

/** Lets the strategies reject options that do not fit the model, before its weights are read. */
async function planStrategies(
  model: ModelOutline | null,
  owner: Named<Strategy>,
  companions: readonly Named<Strategy>[],
): Promise<void> {
  if (model === null) return;
  const plan = (await owner.instance.plan?.(model, null)) ?? null;
  for (const [index, { plugin, instance }] of companions.entries()) {
    try {
      await instance.plan?.(model, plan);
    } catch (cause) {
      throw nameBothStrategies(cause, plugin, owner.plugin, `companions[${index}]`);
    }
  }
}

/** Creates the data sources of a configuration, so that missing files are reported before a long run starts. */
export async function checkDataSources({ config, pluginFor }: ConfigResolution, services: RunServices): Promise<void> {
  const { data, training, baseFolder } = config;
  const maker = createPluginMaker(
    { logger: services.get(LOGGER), seed: training.seed, baseFolder, outputFolder: null },
    () => false,
  );
  if (!services.has(TRAIN_DATA))
    await maker.create('data-source', pluginFor('data-source', data.train.use), data.train.options, [
      'data',
      'train',
      'options',
    ]);
  if (!services.has(EVAL_DATA) && data.eval !== null)
    await maker.create('data-source', pluginFor('data-source', data.eval.use), data.eval.options, [
      'data',
      'eval',
      'options',
    ]);
}
