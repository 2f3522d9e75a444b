import {
  LOGGER,
  WhetstoneError,
  type LoadedModel,
  type Logger,
  type RunReport,
  type StepReport,
} from '../contract/index.js';
import {
  applyOverrides,
  rawConfigOf,
  readConfigFile,
  resolveStages,
  withValue,
  type ConfigResolution,
  type ResolvedStage,
} from '../config/index.js';
import { createServices, type ServiceRegistration, type RunServices } from '../container.js';
import { corePlugins } from '../core-plugins.js';
import { runTraining } from '../training/index.js';
import { CLUSTER } from '../distributed/index.js';
import type { EventHub } from '../events.js';
import { createRegistry, loadPlugin } from '../plugins/index.js';
import { checkDataSources, composeRun, type ComposedRun, type StageComposition } from './compose.js';
import { defaultServices } from './default-services.js';
import type { TrainerOptions } from './options.js';
import { runStages } from './stages.js';
import { messageOf } from '../util/index.js';

export interface TrainingContext {
  readonly events: EventHub;
  readonly signal: AbortSignal;
  /** Called once, with a function that returns the logger of the active run. */
  useLogger(logger: () => Logger): void;
}

/**
 * Reads a configuration, applies overrides and defaults, and validates it with the plugins that it names.
 *
 * @param source a configuration, or the path of its file
 * @throws `CONFIG_INVALID` and other errors, with all problems of the configuration
 */
export async function resolveConfiguration(
  source: string | object,
  { plugins = [], defaults = {}, baseFolder = process.cwd(), overrides = [], sharedModules = {} }: TrainerOptions,
): Promise<readonly [ResolvedStage, ...ResolvedStage[]]> {
  const written = typeof source === 'string' ? await readConfigFile(source) : rawConfigOf(source, baseFolder);
  const raw = overrides.length === 0 ? written : withValue(written, applyOverrides(written.value, overrides));
  const registry = createRegistry([...corePlugins, ...plugins]);
  return resolveStages(raw, {
    defaults,
    load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder: raw.baseFolder, sharedModules }),
  });
}

/** Trains according to a configuration. Yields the report of each step and returns the report of the run. */
export async function* train(
  source: string | object,
  options: TrainerOptions,
  { events, signal, useLogger }: TrainingContext,
): AsyncGenerator<StepReport, RunReport, void> {
  const servicesWith = (more: readonly ServiceRegistration[] = []): RunServices =>
    createServices([...defaultServices, ...(options.services ?? []), ...more]);
  let current: RunServices | null = null;
  useLogger(() => (current ?? servicesWith()).get(LOGGER));
  const trainOne = async function* (
    resolution: ConfigResolution,
    stage?: StageServices,
  ): AsyncGenerator<StepReport, RunReport, void> {
    const services = servicesWith(stage?.services);
    current = services;
    try {
      return yield* runOne({ resolution, services, events, signal, options, stage });
    } finally {
      await services.dispose();
      current = null;
    }
  };

  let stages: readonly [ResolvedStage, ...ResolvedStage[]];
  try {
    stages = await resolveConfiguration(source, options);
  } catch (error) {
    events.emit('run:error', error);
    throw error;
  }
  const [first] = stages;
  if (first.name === null) return yield* trainOne(first.resolution);
  const clusterServices = servicesWith();
  const isInCluster = clusterServices.has(CLUSTER) && clusterServices.get(CLUSTER).membership() !== null;
  await clusterServices.dispose();
  if (isInCluster)
    throw new WhetstoneError('CONFIG_CONFLICT', 'A run with stages cannot train in several processes.', {
      place: { path: 'stages' },
      hint: 'Train each stage as a separate run, on the model that the previous one wrote.',
    });
  return yield* runStages(
    stages,
    (resolution, services, stage, useModel) => trainOne(resolution, { services, stage, useModel }),
    async ({ resolution }) => {
      const services = servicesWith();
      await checkDataSources(resolution, services).finally(() => services.dispose());
    },
  );
}

interface StageServices {
  readonly services: readonly ServiceRegistration[];
  readonly stage: StageComposition;
  readonly useModel: (loaded: LoadedModel, isOurs: boolean) => void;
}

interface OneRun {
  readonly resolution: ConfigResolution;
  readonly services: RunServices;
  readonly events: EventHub;
  readonly signal: AbortSignal;
  readonly options: TrainerOptions;
  readonly stage: StageServices | undefined;
}

/** Composes one run, or one stage of a run, and trains it. */
async function* runOne({
  resolution,
  services,
  events,
  signal,
  options,
  stage,
}: OneRun): AsyncGenerator<StepReport, RunReport, void> {
  let composed: ComposedRun | null = null;
  let outcome: 'abandoned' | 'done' | 'failed' = 'abandoned';
  const failAbandoned = async (error: unknown) => {
    await composed?.explain(error);
    await fail(error);
  };
  const fail = async (error: unknown) => {
    outcome = 'failed';
    if (composed === null) events.emit('run:error', error);
    else await reportFailure(composed, error);
  };
  try {
    composed = await composeRun({
      resolution,
      services,
      events,
      callbacks: options.callbacks ?? [],
      signal,
      ...(stage === undefined ? {} : { stage: stage.stage, useModel: stage.useModel }),
    });
    const report = yield* runTraining(composed.run);
    outcome = 'done';
    for (const message of composed.maker.unusedAtEnd()) composed.run.warn(message);
    return report;
  } catch (cause) {
    const error = composed === null ? cause : await composed.explain(cause);
    await fail(error);
    throw error;
  } finally {
    if (outcome === 'abandoned')
      await failAbandoned(
        new WhetstoneError('INTERRUPTED', 'The run was stopped before its end, without a checkpoint.'),
      );
    composed?.dispose();
  }
}

/** Calls `onRunError`. An error of that hook is logged, so that it does not hide the error of the run. */
async function reportFailure({ run }: ComposedRun, error: unknown): Promise<void> {
  try {
    await run.hooks.onRunError(error);
  } catch (failure) {
    run.logger.error(messageOf(failure));
  }
}
