import { LOGGER, WhetstoneError, type Callback, type Plugin, type RunReport, type StepReport } from '../contract/index.js';
import { applyOverrides, rawConfigOf, readConfigFile, resolveConfig, withValue, type ConfigDefaults, type ConfigResolution, type Override, type ResolvedConfig } from '../config/index.js';
import { createServices, type ServiceRegistration, type Services } from '../container.js';
import { corePlugins } from '../core-plugins.js';
import { runTraining } from '../engine/index.js';
import { createEventHub, type TrainerEvent, type TrainerListener } from '../events.js';
import { validateCallback } from '../hooks/index.js';
import { createRegistry, loadPlugin, type SharedModules } from '../plugins/index.js';
import { composeRun, type ComposedRun } from './compose.js';
import { defaultServices } from './default-services.js';

export interface TrainerOptions {
  /** Plugins that configurations may call by name, beside the optimizers and schedules that core brings. */
  readonly plugins?: readonly Plugin[];
  /** Replace or complete what a run is made of; see {@link provide}. */
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
 * `run()` trains to the end; `for await (const report of trainer)` gives a report a step; `on('step', …)` listens. Several trainers may work in one
 * process, one after the other or at the same time on the same tensor backend.
 */
export class Trainer implements AsyncIterable<StepReport> {
  readonly #source: string | object;
  readonly #options: TrainerOptions;
  readonly #stop = new AbortController();
  #services: Services | null = null;
  readonly #events = createEventHub(() => (this.#services ?? createServices([...defaultServices, ...(this.#options.services ?? [])])).get(LOGGER));
  #working: Promise<void> | null = null;

  /** @param config a configuration, or the path of a file that holds one */
  constructor(config: string | object, options: TrainerOptions = {}) {
    this.#source = config;
    this.#options = options;
    for (const [index, callback] of (options.callbacks ?? []).entries()) validateCallback(callback, `callbacks[${index}]`);
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

  /** Reads, completes and checks the configuration, and does nothing else. Throws what is wrong with it, all at once. */
  async resolve(): Promise<ResolvedConfig> {
    return (await this.#resolve()).config;
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
    if (this.#working !== null) throw new WhetstoneError('USAGE', 'The trainer is already at work.', { hint: 'Await its run, or make another Trainer.' });
    let finished = (): void => undefined;
    this.#working = new Promise((resolve) => {
      finished = resolve;
    });
    try {
      return yield* this.#train(signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]));
    } finally {
      this.#working = null;
      finished();
    }
  }

  /** Ends a run that is at work, as its signal would, and waits for that; forgets the listeners. The trainer cannot be used afterwards. */
  async dispose(): Promise<void> {
    this.#stop.abort(new WhetstoneError('INTERRUPTED', 'The trainer was disposed.'));
    await this.#working;
    this.#events.clear();
  }

  async #resolve(): Promise<ConfigResolution> {
    const { plugins = [], defaults = {}, baseFolder = process.cwd(), overrides = [], sharedModules = {} } = this.#options;
    const written = typeof this.#source === 'string' ? await readConfigFile(this.#source) : rawConfigOf(this.#source, baseFolder);
    const raw = overrides.length === 0 ? written : withValue(written, applyOverrides(written.value, overrides));
    const registry = createRegistry([...corePlugins, ...plugins]);
    return resolveConfig(raw, { defaults, load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder: raw.baseFolder, sharedModules }) });
  }

  async *#train(signal: AbortSignal): AsyncGenerator<StepReport, RunReport, void> {
    const services = createServices([...defaultServices, ...(this.#options.services ?? [])]);
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
      else await tellOfFailure(composed, error);
    };
    try {
      composed = await composeRun({ resolution: await this.#resolve(), services, events: this.#events, callbacks: this.#options.callbacks ?? [], signal });
      const report = yield* runTraining(composed.run);
      outcome = 'done';
      for (const message of composed.maker.unusedAtEnd()) composed.run.warn(message);
      return report;
    } catch (cause) {
      const error = composed === null ? cause : await composed.explain(cause);
      await fail(error);
      throw error;
    } finally {
      if (outcome === 'left') await leave(new WhetstoneError('INTERRUPTED', 'The run was left before its end; no checkpoint was written for that.'));
      try {
        composed?.dispose();
      } finally {
        await services.dispose();
        this.#services = null;
      }
    }
  }
}

/** Calls `onRunError`; a hook that fails there is logged, so that it does not hide the failure of the run. */
async function tellOfFailure({ run }: ComposedRun, error: unknown): Promise<void> {
  try {
    await run.hooks.onRunError(error);
  } catch (failure) {
    run.logger.error(failure instanceof Error ? failure.message : String(failure));
  }
}
