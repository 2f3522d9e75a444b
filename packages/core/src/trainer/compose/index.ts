/** Composes a run: creates its services in order of cost, so that mistakes in the configuration fail early. */
import { CHECKPOINT_STORE } from '../../checkpoint/index.js';
import {
  CLOCK,
  EVAL_DATA,
  EVAL_SOURCE,
  LOADED_MODEL,
  LOGGER,
  METRICS,
  MODEL_OUTLINE,
  OPTIMIZER,
  RANDOM,
  SCHEDULE,
  TRAIN_DATA,
  TRAIN_SOURCE,
  type LoadedModel,
} from '../../contract/index.js';
import type { RunServices } from '../../container.js';
import type { RunStage, TrainRun } from '../../training/train-run.js';
import type { PluginMaker } from '../create-plugin.js';
import { float32StorageWarning } from '../float32-storage.js';
import { checkOutputFolder, claimOutputFolder, saveDataManifest } from '../output-folder.js';
import { composeMetrics } from '../metric-evaluation.js';
import { useBackend } from './backend.js';
import { createHooks, type ProgramCallbacks } from './callbacks.js';
import { RUN_CLUSTER, type RunCluster } from './cluster.js';
import { RUN_LOGGER, throwIfAborted, type RunContext } from './context.js';
import { contextWarnings, openFurtherData, TRANSFORMS } from './data.js';
import { STRATEGIES } from './model.js';
import { PLUGINS } from './plugins.js';
import { planStrategies } from './strategies.js';

export { programServices, runServices } from './services.js';

export interface StageComposition {
  readonly run: RunStage;
  readonly isLast: boolean;
  /**
   * Called as soon as the model is loaded. If the run created it, the receiver disposes it.
   */
  useModel(loaded: LoadedModel, isOurs: boolean): void;
  /** Called once the stage may claim its folder. */
  claimOutput(): Promise<void>;
}

export interface ComposeOptions {
  readonly context: RunContext;
  /** The result of {@link runServices}. The caller disposes them, and with them everything that the run created. */
  readonly services: RunServices;
  readonly callbacks: ProgramCallbacks['callbacks'];
  /** Set if the run is one of several stages. */
  readonly stage?: StageComposition;
}

/** A run that is ready to start. */
export interface ComposedRun {
  readonly run: TrainRun;
  readonly maker: PluginMaker;
  /** Returns the error to report for an error of this process. Another worker may have caused it. */
  explain(error: unknown): Promise<unknown>;
}

/**
 * Composes a run from its configuration. Services are created in order of cost: output folder, backend, plugins, data
 * sources, model, batches.
 */
export async function composeRun(options: ComposeOptions): Promise<ComposedRun> {
  const { context, services } = options;
  for (const notice of context.resolution.notices) services.get(RUN_LOGGER).warn(notice);
  await checkOutputFolder(context.resolution.config);
  throwIfAborted(context);
  const cluster = await services.resolve(RUN_CLUSTER);
  try {
    return await compose(options, cluster);
  } catch (error) {
    throw await cluster.explain(error);
  }
}

async function compose(
  { context, services, callbacks, stage }: ComposeOptions,
  cluster: RunCluster,
): Promise<ComposedRun> {
  const { resolution, events, signal } = context;
  const { config } = resolution;
  const outputFolder = cluster.writes ? config.output.folder : null;
  const warn = (message: string): void => services.get(RUN_LOGGER).warn(message);

  const backend = await useBackend(services, cluster, config.backend);
  const workers = cluster.workersOn(backend);
  throwIfAborted(context);

  const plugins = await services.resolve(PLUGINS);
  const strategies = await services.resolve(STRATEGIES);
  const program = { callbacks, stay: stage?.isLast === false };
  const hooks = await createHooks(config, services, plugins, program, events);
  throwIfAborted(context);
  const optimizer = plugins.named(await services.resolve(OPTIMIZER), 'OPTIMIZER of the program');
  const schedule = plugins.named(await services.resolve(SCHEDULE), 'SCHEDULE of the program');
  const metrics = (await services.resolve(METRICS)).map((metric, index) =>
    plugins.named(metric, `METRICS[${index}] of the program`),
  );

  await services.resolve(TRAIN_SOURCE);
  const evalSource = await services.resolve(EVAL_SOURCE);
  throwIfAborted(context);

  await planStrategies(strategies, await services.resolve(MODEL_OUTLINE));
  throwIfAborted(context);
  const loaded = await services.resolve(LOADED_MODEL);
  const isOurs = services.release(LOADED_MODEL);
  if (stage !== undefined) stage.useModel(loaded, isOurs);
  else if (isOurs) services.onDispose(() => loaded.model.dispose());
  const storageWarning = float32StorageWarning(loaded.model, backend.backend);
  if (storageWarning !== null) warn(storageWarning);
  throwIfAborted(context);

  // Evaluation data first, because the training data must not repeat it.
  const transforms = await services.resolve(TRANSFORMS);
  const evalData = await services.resolve(EVAL_DATA);
  const measured = await composeMetrics(config, services, evalSource, transforms, metrics);
  const trainData = await services.resolve(TRAIN_DATA);
  for (const message of contextWarnings(resolution, loaded.model.maxLength, [trainData, evalData])) warn(message);
  throwIfAborted(context);

  const run: TrainRun = {
    config,
    ...(stage === undefined ? {} : { stage: stage.run }),
    ...strategies,
    loaded,
    trainData,
    evalData,
    metrics: measured,
    hooks,
    optimizer,
    schedule,
    backend,
    checkpoints: services.get(CHECKPOINT_STORE),
    clock: services.get(CLOCK),
    random: services.get(RANDOM),
    logger: services.get(LOGGER),
    signal,
    outputFolder,
    warn,
    openData: openFurtherData(resolution, services),
    workers,
    checkUnusedKeys: plugins.maker.checkUnusedKeys,
    claimOutput: async () => {
      if (!cluster.writes) return;
      await stage?.claimOutput();
      await claimOutputFolder(config);
      await saveDataManifest(outputFolder, trainData, evalData);
    },
  };
  return { run, maker: plugins.maker, explain: cluster.explain };
}
