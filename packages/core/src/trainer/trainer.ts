import {
  LOGGER,
  WhetstoneError,
  type Callback,
  type LoadedModel,
  type Plugin,
  type RunReport,
  type StepReport,
} from '../contract/index.js';
import {
  applyOverrides,
  rawConfigOf,
  readConfigFile,
  resolveStages,
  withValue,
  type ConfigDefaults,
  type ConfigResolution,
  type ResolvedStage,
  type Override,
  type ResolvedConfig,
} from '../config/index.js';
import { createServices, type ServiceRegistration, type Services } from '../container.js';
import { corePlugins } from '../core-plugins.js';
import { runTraining } from '../training/index.js';
import { CLUSTER } from '../distributed/index.js';
import { createEventHub, type TrainerEvent, type TrainerListener } from '../events.js';
import { validateCallback } from '../hooks/index.js';
import { createRegistry, loadPlugin, type SharedModules } from '../plugins/index.js';
import { checkDataSources, composeRun, type ComposedRun, type StageComposition } from './compose.js';
import { defaultServices } from './default-services.js';
import { runStages } from './stages.js';

export interface TrainerOptions {
  /** Plugins that configurations may call by name, beside the optimizers and schedules that core brings. */
  readonly plugins?: readonly Plugin[];
  /** Replace or complete what a run is made of; see `provide`. */
  readonly services?: readonly ServiceRegistration[];
  /** What a configuration means where it says nothing. */
  readonly defaults?: ConfigDefaults;
  /** For a configuration given as an object: where its relative paths start. The working directory by default. */
  readonly baseFolder?: string;
  /** Put into the configuration before it is validated, as `optimizer.learningRate=1e-4`. */
  readonly overrides?: readonly (string | Override)[];
  /** Callbacks given as objects; they come after those of the configuration. */
  readonly callbacks?: readonly Callback[];
  /** Modules that local plugin files get from this program. */
  readonly sharedModules?: SharedModules;
}

export interface RunOptions {
  /** Aborted: the run finishes its step, writes a checkpoint and rejects with `INTERRUPTED`. */
  readonly signal?: AbortSignal;
}

/**
 * Trains a model as a configuration says.
 *
 * `run()` trains to the end; `for await (const report of trainer)` gives a report a step; `on('step', …)` listens.
 * Several trainers may work in one process, one after the other or at the same time on the same tensor backend.
 */
export class Trainer implements AsyncIterable<StepReport> {
  readonly #source: string | object;
  readonly #options: TrainerOptions;
  readonly #stop = new AbortController();
  #services: Services | null = null;
  readonly #events = createEventHub(() =>
    (this.#services ?? createServices([...defaultServices, ...(this.#options.services ?? [])])).get(LOGGER),
  );
  #working: Promise<void> | null = null;

  /** @param config a configuration, or the path of a file that holds one */
  constructor(config: string | object, options: TrainerOptions = {}) {
    this.#source = config;
    this.#options = options;
    for (const [index, callback] of (options.callbacks ?? []).entries())
      validateCallback(callback, `callbacks[${index}]`);
  }

  on<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.#events.on(event, listener);
    return this;
  }

  once<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.#events.once(event, listener);
    return this;
  }

  off<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.#events.off(event, listener);
    return this;
  }

  /**
   * Reads, completes and checks the configuration, and does nothing else: that of its first stage, and of every one
   * under `stages`, where it has stages. Throws what is wrong with it, all at once.
   */
  async resolve(): Promise<ResolvedConfig> {
    const [first, ...others] = await this.#resolve();
    if (first.name === null) return first.resolution.config;
    return {
      ...first.resolution.config,
      stages: [first, ...others].map(({ name, resolution }) => ({ name: name ?? '', config: resolution.config })),
    };
  }

  /** Trains to the end. Rejects with a `WhetstoneError`. */
  async run(options: RunOptions = {}): Promise<RunReport> {
    const reports = this.reports(options);
    for (;;) {
      const next = await reports.next();
      if (next.done === true) return next.value;
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<StepReport, RunReport, void> {
    return this.reports();
  }

  /** A report a step; the report of the run is the generator's return value. Leaving the loop early ends the run. */
  async *reports({ signal }: RunOptions = {}): AsyncGenerator<StepReport, RunReport, void> {
    if (this.#stop.signal.aborted) throw new WhetstoneError('USAGE', 'The trainer was disposed.');
    if (this.#working !== null)
      throw new WhetstoneError('USAGE', 'The trainer is already at work.', {
        hint: 'Await its run, or make another Trainer.',
      });
    let finished = (): void => undefined;
    this.#working = new Promise((resolve) => {
      finished = resolve;
    });
    try {
      return yield* this.#train(
        signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]),
      );
    } finally {
      this.#working = null;
      finished();
    }
  }

  /**
   * Ends a run that is at work, as its signal would, and waits for that; forgets the listeners. The trainer cannot be
   * used afterwards.
   */
  async dispose(): Promise<void> {
    this.#stop.abort(new WhetstoneError('INTERRUPTED', 'The trainer was disposed.'));
    await this.#working;
    this.#events.clear();
  }

  async #resolve(): Promise<readonly [ResolvedStage, ...ResolvedStage[]]> {
    const {
      plugins = [],
      defaults = {},
      baseFolder = process.cwd(),
      overrides = [],
      sharedModules = {},
    } = this.#options;
    const written =
      typeof this.#source === 'string' ? await readConfigFile(this.#source) : rawConfigOf(this.#source, baseFolder);
    const raw = overrides.length === 0 ? written : withValue(written, applyOverrides(written.value, overrides));
    const registry = createRegistry([...corePlugins, ...plugins]);
    return resolveStages(raw, {
      defaults,
      load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder: raw.baseFolder, sharedModules }),
    });
  }

  async *#train(signal: AbortSignal): AsyncGenerator<StepReport, RunReport, void> {
    let stages: readonly [ResolvedStage, ...ResolvedStage[]];
    try {
      stages = await this.#resolve();
    } catch (error) {
      this.#events.emit('run:error', error);
      throw error;
    }
    const [first] = stages;
    if (first.name === null) return yield* this.#runOne(signal, first.resolution);
    const alone = createServices([...defaultServices, ...(this.#options.services ?? [])]);
    const isOneOfSeveral = alone.has(CLUSTER) && alone.get(CLUSTER).membership() !== null;
    await alone.dispose();
    if (isOneOfSeveral)
      throw new WhetstoneError('CONFIG_CONFLICT', 'A run with stages is trained in one process.', {
        place: { path: 'stages' },
        hint: 'Train the stages as runs of their own, each on the model that the one before left.',
      });
    return yield* runStages(
      stages,
      (resolution, services, stage, useModel) => this.#runOne(signal, resolution, { services, stage, useModel }),
      async ({ resolution }) => {
        const services = createServices([...defaultServices, ...(this.#options.services ?? [])]);
        await checkDataSources(resolution, services).finally(() => services.dispose());
      },
    );
  }

  /** Composes one run, or one stage of a run, and trains it to its end. */
  async *#runOne(
    signal: AbortSignal,
    resolution: ConfigResolution,
    more?: StageServices,
  ): AsyncGenerator<StepReport, RunReport, void> {
    const services = createServices([...defaultServices, ...(this.#options.services ?? []), ...(more?.services ?? [])]);
    this.#services = services;
    let composed: ComposedRun | null = null;
    let outcome: 'left' | 'done' | 'failed' = 'left';
    const leave = async (error: unknown) => {
      await composed?.explain(error);
      await fail(error);
    };
    const fail = async (error: unknown) => {
      outcome = 'failed';
      if (composed === null) this.#events.emit('run:error', error);
      else await reportFailure(composed, error);
    };
    try {
      composed = await composeRun({
        resolution,
        services,
        events: this.#events,
        callbacks: this.#options.callbacks ?? [],
        signal,
        ...(more === undefined ? {} : { stage: more.stage, useModel: more.useModel }),
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
      if (outcome === 'left')
        await leave(
          new WhetstoneError('INTERRUPTED', 'The run was left before its end; no checkpoint was written for that.'),
        );
      try {
        composed?.dispose();
      } finally {
        await services.dispose();
        this.#services = null;
      }
    }
  }
}

interface StageServices {
  readonly services: readonly ServiceRegistration[];
  readonly stage: StageComposition;
  readonly useModel: (loaded: LoadedModel, isOurs: boolean) => void;
}

/** Calls `onRunError`; a hook that fails there is logged, so that it does not hide the failure of the run. */
async function reportFailure({ run }: ComposedRun, error: unknown): Promise<void> {
  try {
    await run.hooks.onRunError(error);
  } catch (failure) {
    run.logger.error(failure instanceof Error ? failure.message : String(failure));
  }
}
