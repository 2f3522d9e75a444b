import { WhetstoneError, type Logger, type RunPlan, type RunReport, type StepReport } from '../contract/index.js';
import type { ResolvedConfig } from '../config/index.js';
import { createEventHub, type TrainerEvent, type TrainerListener } from '../events.js';
import { validateCallback } from '../hooks/validate-callback.js';
import type { TrainerOptions } from './options.js';
import { standardErrorLogger } from './standard-error-logger.js';
import type { TrainingContext } from './train.js';

/** Loads the training code on first use, so that importing a Trainer is fast. */
const loadTraining = () => import('./train.js');

/** Options of one run. */
export interface RunOptions {
  /** If aborted, the run finishes its step, writes a checkpoint and rejects with `INTERRUPTED`. */
  readonly signal?: AbortSignal;
}

/** Options of a dry run. */
export interface PlanOptions extends RunOptions {
  /** The number of training samples to decode; 3 by default. */
  readonly samples?: number;
}

/**
 * Trains a model according to a configuration.
 *
 * `run()` trains to the end. `for await (const report of trainer)` yields a report per step. `on('step', …)` adds a
 * listener. A process may use several trainers, one after the other, or concurrently on the same tensor backend.
 */
export class Trainer implements AsyncIterable<StepReport> {
  private readonly source: string | object;
  private readonly options: TrainerOptions;
  private readonly stop = new AbortController();
  private readonly saves = { requested: 0, fulfilled: 0 };
  private logger = (): Logger => standardErrorLogger;
  private readonly events = createEventHub(() => this.logger());
  private running: Promise<void> | null = null;

  /** @param config a configuration, or the path of its file */
  constructor(config: string | object, options: TrainerOptions = {}) {
    this.source = config;
    this.options = options;
    for (const [index, callback] of (options.callbacks ?? []).entries())
      validateCallback(callback, `callbacks[${index}]`);
  }

  /** Calls `listener` on every event of this name. */
  on<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.events.on(event, listener);
    return this;
  }

  /** Calls `listener` on the next event of this name. */
  once<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.events.once(event, listener);
    return this;
  }

  /** Removes a listener. */
  off<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.events.off(event, listener);
    return this;
  }

  /**
   * Reads and validates the configuration without training. Returns it with all defaults. For a run with stages, it is
   * that of the first stage, with those of all stages under `stages`.
   *
   * @throws `CONFIG_INVALID` and other errors, with all problems of the configuration
   */
  async resolve(): Promise<ResolvedConfig> {
    const { resolveConfiguration } = await loadTraining();
    const [first, ...others] = await resolveConfiguration(this.source, this.options);
    if (first.name === null) return first.resolution.config;
    return {
      ...first.resolution.config,
      stages: [first, ...others].map(({ name, resolution }) => ({ name: name ?? '', config: resolution.config })),
    };
  }

  /**
   * Makes a dry run: does everything that a run does before its first step (validation, data, proofs, model, checks),
   * and returns what the run would do: one plan, or one for each stage. Writes nothing into the output folder.
   *
   * @throws the errors of {@link run} before the first step
   */
  async plan({ samples = 3, signal }: PlanOptions = {}): Promise<readonly RunPlan[]> {
    const finished = this.begin();
    try {
      const { planRun } = await loadTraining();
      return await planRun(this.source, this.options, this.trainingContext(signal), samples);
    } finally {
      finished();
    }
  }

  /** Trains to the end and returns the report of the run. Rejects with a `WhetstoneError`. */
  async run(options: RunOptions = {}): Promise<RunReport> {
    const reports = this.reports(options);
    for (;;) {
      const next = await reports.next();
      if (next.done === true) return next.value;
    }
  }

  /** Trains and yields a report per step. */
  [Symbol.asyncIterator](): AsyncGenerator<StepReport, RunReport, void> {
    return this.reports();
  }

  /** Trains and yields a report per step. Returns the report of the run. Leaving the loop early ends the run. */
  async *reports({ signal }: RunOptions = {}): AsyncGenerator<StepReport, RunReport, void> {
    const finished = this.begin();
    try {
      const { train } = await loadTraining();
      return yield* train(this.source, this.options, this.trainingContext(signal));
    } finally {
      finished();
    }
  }

  /** Marks the trainer as running. Returns a function that ends this. @throws `USAGE` if it is running or disposed */
  private begin(): () => void {
    if (this.stop.signal.aborted) throw new WhetstoneError('USAGE', 'The trainer was disposed.');
    if (this.running !== null)
      throw new WhetstoneError('USAGE', 'The trainer is already running.', {
        hint: 'Await its run, or create another Trainer.',
      });
    let finished = (): void => undefined;
    this.running = new Promise((resolve) => {
      finished = resolve;
    });
    return () => {
      this.running = null;
      finished();
    };
  }

  private trainingContext(signal: AbortSignal | undefined): TrainingContext {
    return {
      events: this.events,
      signal: signal === undefined ? this.stop.signal : AbortSignal.any([signal, this.stop.signal]),
      saves: this.saves,
      useLogger: (logger) => {
        this.logger = logger;
      },
    };
  }

  /**
   * Requests a checkpoint. The active run writes it after its current step or evaluation, and continues. A request
   * before the first step is fulfilled after it.
   */
  requestSave(): void {
    this.saves.requested++;
  }

  /**
   * Ends the active run like an aborted signal, waits for it, and removes all listeners. The trainer cannot be used
   * afterwards.
   */
  async dispose(): Promise<void> {
    this.stop.abort(new WhetstoneError('INTERRUPTED', 'The trainer was disposed.'));
    await this.running;
    this.events.clear();
  }
}
