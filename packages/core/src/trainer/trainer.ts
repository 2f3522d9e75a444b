import { WhetstoneError, type Logger, type RunReport, type StepReport } from '../contract/index.js';
import type { ResolvedConfig } from '../config/index.js';
import { createEventHub, type TrainerEvent, type TrainerListener } from '../events.js';
import { validateCallback } from '../hooks/validate-callback.js';
import type { TrainerOptions } from './options.js';
import { standardErrorLogger } from './standard-error-logger.js';

/** The code that reads a configuration and trains is loaded when it is first needed: importing a Trainer is fast. */
const loadTraining = () => import('./train.js');

/** Options of one run. */
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
  #logger = (): Logger => standardErrorLogger;
  readonly #events = createEventHub(() => this.#logger());
  #working: Promise<void> | null = null;

  /** @param config a configuration, or the path of a file that holds one */
  constructor(config: string | object, options: TrainerOptions = {}) {
    this.#source = config;
    this.#options = options;
    for (const [index, callback] of (options.callbacks ?? []).entries())
      validateCallback(callback, `callbacks[${index}]`);
  }

  /** Calls `listener` at every event of this name. */
  on<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.#events.on(event, listener);
    return this;
  }

  /** Calls `listener` at the next event of this name. */
  once<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.#events.once(event, listener);
    return this;
  }

  /** Removes a listener. */
  off<E extends TrainerEvent>(event: E, listener: TrainerListener<E>): this {
    this.#events.off(event, listener);
    return this;
  }

  /**
   * Reads, completes and checks the configuration, and does nothing else: that of its first stage, and of every one
   * under `stages`, where it has stages. Throws what is wrong with it, all at once.
   */
  async resolve(): Promise<ResolvedConfig> {
    const { resolveConfiguration } = await loadTraining();
    const [first, ...others] = await resolveConfiguration(this.#source, this.#options);
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

  /** Trains, and gives a report a step. */
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
      const { train } = await loadTraining();
      return yield* train(this.#source, this.#options, {
        events: this.#events,
        signal: signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]),
        useLogger: (logger) => {
          this.#logger = logger;
        },
      });
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
}
