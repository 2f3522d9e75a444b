import {
  LOADED_MODEL,
  LOGGER,
  WhetstoneError,
  type Logger,
  type RunPlan,
  type RunReport,
  type StepReport,
  type WhetstoneErrorOptions,
} from '../contract/index.js';
import {
  applyOverrides,
  rawConfigOf,
  resolveStages,
  withValue,
  type CheckStage,
  type ConfigResolution,
  type ResolvedConfig,
  type ResolvedStage,
} from '../config/index.js';
import type { RunServices, ServiceRegistration } from '../container.js';
import { corePlugins } from '../core-plugins.js';
import { planTraining, runTraining } from '../training/index.js';
import type { SaveRequests } from '../training/train-run.js';
import { CLUSTER } from '../distributed/index.js';
import type { EventHub } from '../events.js';
import { asOutOfMemory, memoryOptions, optionsHint } from '../memory/index.js';
import { createRegistry, loadPlugin, readConfig } from '../plugins/index.js';
import {
  composeRun,
  openSources,
  applicationServices,
  runServices,
  type ComposedRun,
  type ComposeOptions,
  type RunContext,
  type StageComposition,
} from './compose/index.js';
import type { TrainerOptions } from './options.js';
import { planStages, runStages, type RunOneStage } from './stages.js';
import type { LockLogger } from './output-lock.js';
import { messageOf } from '../util/index.js';

export interface TrainingContext {
  readonly events: EventHub;
  readonly signal: AbortSignal;
  /** The checkpoints that the application requests. */
  readonly saves: SaveRequests;
  /** Called once, with a function that returns the logger of the active run. */
  useLogger(logger: () => Logger): void;
}

/**
 * Reads a configuration, applies overrides and defaults, and validates it with the plugins that it names.
 *
 * @param source a configuration, or the path of its file
 * @param check checks the valid stages if others are invalid
 * @throws `CONFIG_INVALID` and other errors, with all problems of the configuration
 */
export async function resolveConfiguration(
  source: string | object,
  { plugins = [], defaults = {}, baseFolder = process.cwd(), overrides = [], sharedModules = {} }: TrainerOptions,
  check?: CheckStage,
): Promise<readonly [ResolvedStage, ...ResolvedStage[]]> {
  const written =
    typeof source === 'string' ? await readConfig(source, sharedModules) : rawConfigOf(source, baseFolder);
  const raw = overrides.length === 0 ? written : withValue(written, applyOverrides(written.value, overrides));
  const registry = createRegistry([...corePlugins, ...plugins]);
  return resolveStages(
    raw,
    {
      defaults,
      load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder: raw.baseFolder, sharedModules }),
    },
    check,
  );
}

/** Trains according to a configuration. Yields the report of each step and returns the report of the run. */
export async function* train(
  source: string | object,
  options: TrainerOptions,
  { events, signal, saves, useLogger }: TrainingContext,
): AsyncGenerator<StepReport, RunReport, void> {
  const { services: registered = [], callbacks = [] } = options;
  let current: RunServices | null = null;
  const logger = (): Logger => (current ?? applicationServices(registered)).get(LOGGER);
  useLogger(logger);
  const trainOne: RunOneStage = async function* (resolution, more, stage) {
    const context = { resolution, events, signal, saves };
    const services = runServices(context, [...registered, ...more]);
    current = services;
    try {
      return yield* runOne({ context, services, callbacks, stage });
    } catch (error) {
      // The error of the run is reported, even if disposing fails, too.
      await services.dispose().catch(() => undefined);
      throw error;
    } finally {
      await services.dispose();
      current = null;
    }
  };

  const checkData = dataCheck({ events, signal, saves }, registered);
  let stages: readonly [ResolvedStage, ...ResolvedStage[]];
  try {
    stages = await resolveConfiguration(source, options, checkData);
  } catch (error) {
    events.emit('run:error', error);
    throw error;
  }
  const [first] = stages;
  if (first.name === null) return yield* trainOne(first.resolution, []);
  await rejectCluster(registered, 'A run with stages cannot train in several processes.', {
    place: { path: 'stages' },
    hint: 'Train each stage as a separate run, on the model that the previous one wrote.',
  });
  return yield* runStages(stages, {
    runOne: trainOne,
    events,
    logger: stageLogger(logger, events),
    loadsModel: registered.every(({ token }) => token !== LOADED_MODEL),
    checkData,
  });
}

/**
 * Prepares a run up to its first step without writing to its output folder, and describes what it would do: one plan,
 * or one for each stage.
 *
 * @param samples the number of training samples to decode
 * @throws the errors of a run before its first step
 * @throws `CONFIG_CONFLICT` if this process is one of several
 */
export async function planRun(
  source: string | object,
  options: TrainerOptions,
  { events, signal, saves, useLogger }: TrainingContext,
  samples: number,
): Promise<readonly RunPlan[]> {
  const { services: registered = [], callbacks = [] } = options;
  let current: RunServices | null = null;
  const logger = (): Logger => (current ?? applicationServices(registered)).get(LOGGER);
  useLogger(logger);
  const planOne = async (resolution: ConfigResolution, stage?: StageComposition): Promise<RunPlan> => {
    const context = { resolution, events, signal, saves };
    const services = runServices(context, registered);
    current = services;
    try {
      const { run } = await composeRun({ context, services, callbacks, stage, isDry: true });
      return await planTraining(run, samples);
    } catch (cause) {
      throw asOutOfMemory(cause, null, memoryHint(resolution.config, null));
    } finally {
      await services.dispose();
      current = null;
    }
  };
  await rejectCluster(registered, 'A dry run cannot be made in several processes.');
  const checkData = dataCheck({ events, signal, saves }, registered);
  const stages = await resolveConfiguration(source, options, checkData);
  const [first] = stages;
  if (first.name === null) return [await planOne(first.resolution)];
  return planStages(stages, { events, planOne, checkData, logger: stageLogger(logger, events) });
}

/** Returns a check of the files of a stage's data. */
const dataCheck =
  (context: Omit<RunContext, 'resolution'>, registered: readonly ServiceRegistration[]): CheckStage =>
  async ({ resolution }) => {
    const services = runServices({ resolution, ...context }, registered);
    try {
      await openSources(services);
    } finally {
      await services.dispose();
    }
  };

/** Reports what concerns the folder of a run with stages. */
const stageLogger = (logger: () => Logger, events: EventHub): LockLogger => ({
  info: (message) => logger().info(message),
  warn: (message) => {
    logger().warn(message);
    events.emit('warning', { message });
  },
});

/** @throws `CONFIG_CONFLICT` if this process is one of several */
async function rejectCluster(
  registered: readonly ServiceRegistration[],
  message: string,
  more: WhetstoneErrorOptions = {},
): Promise<void> {
  const services = applicationServices(registered);
  const membership = services.get(CLUSTER).membership();
  await services.dispose();
  if (membership === null) return;
  throw new WhetstoneError('CONFIG_CONFLICT', message, more);
}

/** Composes one run, or one stage of a run, and trains it. The caller disposes the services. */
async function* runOne(options: ComposeOptions): AsyncGenerator<StepReport, RunReport, void> {
  let composed: ComposedRun | null = null;
  let outcome: 'abandoned' | 'done' | 'failed' = 'abandoned';
  const fail = async (error: unknown) => {
    outcome = 'failed';
    if (composed === null) options.context.events.emit('run:error', error);
    else {
      await composed.record(error);
      await reportFailure(composed, error);
    }
  };
  try {
    composed = await composeRun(options);
    const report = yield* runTraining(composed.run);
    outcome = 'done';
    for (const message of composed.maker.unusedAtEnd()) composed.run.warn(message);
    return report;
  } catch (cause) {
    const error = asOutOfMemory(
      composed === null ? cause : await composed.explain(cause),
      null,
      memoryHint(options.context.resolution.config, composed?.run.memory?.hint ?? null),
    );
    await fail(error);
    throw error;
  } finally {
    if (outcome === 'abandoned') {
      const error = new WhetstoneError('INTERRUPTED', 'The run was stopped before its end, without a checkpoint.');
      await composed?.explain(error);
      await fail(error);
    }
  }
}

/** Returns what needs less memory: what the run has found out about itself, or what its configuration allows. */
const memoryHint = (config: ResolvedConfig, found: string | null): string =>
  found ?? optionsHint(memoryOptions(config, null, config.data.maxLength));

/** Calls `onRunError`. An error of that hook is logged, so that it does not hide the error of the run. */
async function reportFailure({ run }: ComposedRun, error: unknown): Promise<void> {
  try {
    await run.hooks.onRunError(error);
  } catch (failure) {
    run.logger.error(messageOf(failure));
  }
}
