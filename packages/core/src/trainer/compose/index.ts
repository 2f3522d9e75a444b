/** Composes a run: creates its services in order of cost, so that mistakes in the configuration fail early. */
import { CHECKPOINT_STORE, recordError } from '../../checkpoint/index.js';
import {
  CLOCK,
  LOGGER,
  METRICS,
  MODEL_OUTLINE,
  OPTIMIZER,
  RANDOM,
  SCHEDULE,
  type LoadedModel,
} from '../../contract/index.js';
import type { RunServices } from '../../container.js';
import type { RunStage, TrainRun } from '../../training/train-run.js';
import type { PluginMaker } from '../create-plugin.js';
import {
  checkOutputFolder,
  claimOutputFolder,
  prepareOutputFolder,
  saveDataManifest,
  saveTemplateTime,
} from '../output-folder.js';
import { validateInstance } from '../validate-instance.js';
import { followSteps } from '../follow-steps.js';
import { createOutputLock, noOutputLock, type OutputLock } from '../output-lock.js';
import { checkWeightsFit } from '../weights-fit.js';
import { useBackend } from './backend.js';
import { createHooks, type ApplicationCallbacks } from './callbacks.js';
import { RUN_CLUSTER, type RunCluster } from './cluster.js';
import { RUN_LOGGER, throwIfAborted, type RunContext } from './context.js';
import { composeData, openSources } from './data.js';
import { composeModel } from './model.js';
import { PLUGINS } from './plugins.js';
import { STRATEGIES, planStrategies } from './strategies.js';
import { findUnusedOptions, warnAboutUnused } from './unused-options.js';

export type { RunContext } from './context.js';
export { openSources } from './data.js';
export { TEMPLATE_TIME } from './model.js';
export { applicationServices, runServices } from './services.js';

export interface StageComposition {
  readonly run: RunStage;
  readonly isLast: boolean;
  /** Called as soon as the model is loaded. If the run created it, the receiver disposes it. */
  readonly useModel: (loaded: LoadedModel, isOurs: boolean) => void;
  /** The lock of the run's folder, which the run holds. */
  readonly lock: OutputLock;
  /** Called once the stage may claim its folder. */
  readonly claimOutput: (warn: TrainRun['warn']) => Promise<void>;
}

export interface ComposeOptions {
  readonly context: RunContext;
  /** The result of {@link runServices}. The caller disposes them, and with them everything that the run created. */
  readonly services: RunServices;
  readonly callbacks: ApplicationCallbacks['callbacks'];
  /** Set if the run is one of several stages. */
  readonly stage?: StageComposition;
  /** Set for a dry run, which neither locks nor writes the output folder. */
  readonly isDry?: boolean;
}

/** A run that is ready to start. */
export interface ComposedRun {
  readonly run: TrainRun;
  readonly maker: PluginMaker;
  /** Returns the error to report for an error of this process. Another worker may have caused it. */
  explain(error: unknown): Promise<unknown>;
  /** Writes the error that ends the run into its output folder. */
  record(error: unknown): Promise<void>;
}

/**
 * Composes a run from its configuration. Services are created in order of cost: output folder, backend, plugins, data
 * sources, model, batches.
 */
export async function composeRun(options: ComposeOptions): Promise<ComposedRun> {
  const { context, services } = options;
  for (const notice of context.resolution.notices) services.get(RUN_LOGGER).warn(notice);
  await checkOutputFolder(context.resolution.config, services.get(RUN_LOGGER));
  throwIfAborted(context);
  const cluster = await services.resolve(RUN_CLUSTER);
  const writes = cluster.writes && options.isDry !== true;
  const { lastStep, end } = followSteps(context.events);
  services.onDispose(async () => end());
  let lock = noOutputLock;
  try {
    lock = await lockOutput(options, writes);
    if (writes) await prepareOutputFolder(context.resolution.config);
    const { run, maker } = await compose(options, cluster, lock);
    const { heldFolder } = options.stage?.lock ?? lock;
    return { run, maker, explain: cluster.explain, record: (error) => recordError(heldFolder(), error, lastStep()) };
  } catch (cause) {
    const error = await cluster.explain(cause);
    await recordError((options.stage?.lock ?? lock).heldFolder(), error, lastStep());
    throw error;
  }
}

/** Locks the output folder, if it exists and this process writes to it. A staged run locks its folder itself. */
async function lockOutput({ context, services, stage }: ComposeOptions, writes: boolean): Promise<OutputLock> {
  const { folder } = context.resolution.config.output;
  if (folder === null || !writes || stage !== undefined) return noOutputLock;
  const lock = createOutputLock(folder, services.get(RUN_LOGGER));
  services.onDispose(lock.release);
  await lock.take();
  return lock;
}

async function compose(
  { context, services, callbacks: application, stage, isDry = false }: ComposeOptions,
  cluster: RunCluster,
  lock: OutputLock,
): Promise<Pick<ComposedRun, 'run' | 'maker'>> {
  const { config } = context.resolution;
  const backend = await useBackend(services, cluster, config.backend);
  const workers = cluster.workersOn(backend);
  throwIfAborted(context);

  const plugins = await services.resolve(PLUGINS);
  const strategies = await services.resolve(STRATEGIES);
  const { hooks, callbacks, loggers } = await createHooks(context, services, {
    callbacks: application,
    stay: stage?.isLast === false,
  });
  throwIfAborted(context);
  const optimizer = plugins.named(await services.resolve(OPTIMIZER), 'OPTIMIZER of the program');
  validateInstance('optimizer', optimizer.instance, optimizer.plugin);
  const schedule = plugins.named(await services.resolve(SCHEDULE), 'SCHEDULE of the program');
  const metrics = (await services.resolve(METRICS)).map((metric, index) =>
    plugins.named(metric, `METRICS[${index}] of the program`),
  );
  await openSources(services);
  throwIfAborted(context);

  const plans = await planStrategies(await services.resolve(STRATEGIES), await services.resolve(MODEL_OUTLINE));
  warnAboutUnused(plans.unusedOptions, services.get(RUN_LOGGER));
  throwIfAborted(context);
  checkWeightsFit(
    config,
    await services.resolve(MODEL_OUTLINE),
    strategies.owner.instance.storage,
    backend.deviceMemoryBytes,
  );
  const loaded = await composeModel(context, services, backend, stage?.useModel);
  const data = await composeData(context, services, metrics, plans.virtualTokens);
  const unused = await findUnusedOptions({
    resolution: context.resolution,
    ...data,
    metrics,
    callbacks,
    loggers,
    strategies,
    optimizer,
    schedule: {
      instance: schedule.instance,
      recreate: plugins.maker.nameOf(schedule.instance) === null ? null : plugins.recreateSchedule,
    },
    trainable: plans.trainable,
    workers: workers.count,
  });
  warnAboutUnused(unused, services.get(RUN_LOGGER));
  const writes = cluster.writes && !isDry;
  const outputFolder = writes ? config.output.folder : null;
  const run: TrainRun = {
    config,
    ...(stage === undefined ? {} : { stage: stage.run }),
    loaded,
    ...data,
    ...strategies,
    hooks,
    optimizer,
    schedule,
    backend,
    workers,
    memory: { hint: null },
    localProcesses: cluster.tensors?.sharingCores ?? 1,
    checkpoints: await services.resolve(CHECKPOINT_STORE),
    clock: await services.resolve(CLOCK),
    random: await services.resolve(RANDOM),
    logger: services.get(LOGGER),
    warn: services.get(RUN_LOGGER).warn,
    signal: context.signal,
    saves: context.saves,
    outputFolder,
    checkUnusedKeys: plugins.maker.checkUnusedKeys,
    lockOutput: lock.take,
    noteStatus: (stage?.lock ?? lock).note,
    claimOutput: async () => {
      if (!writes) return;
      await stage?.claimOutput(services.get(RUN_LOGGER).warn);
      await claimOutputFolder(config, lock);
      await saveDataManifest(outputFolder, data.trainData, data.evalData);
      await saveTemplateTime(outputFolder, loaded.renderer.time);
    },
  };
  return { run, maker: plugins.maker };
}
