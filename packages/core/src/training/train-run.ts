import type { CheckpointStore } from '../checkpoint/store.js';
import type { ResolvedConfig } from '../config/types.js';
import type {
  Attachment,
  BatchSource,
  Clock,
  LoadedModel,
  Logger,
  Optimizer,
  RandomSource,
  RunReport,
  Schedule,
  ScheduleInputs,
  StageInfo,
  StepReport,
  Strategy,
  StrategyRun,
  TensorBackendInfo,
} from '../contract/index.js';
import type { Workers } from '../contract/workers.js';
import type { ExpectedShortage } from '../memory/index.js';
import type { Named, Owner } from './named.js';
import type { MetricEvaluation } from './measure-metrics.js';
import type { HookRunner } from '../hooks/types.js';

/** The data of a run that is one of several stages. */
export interface RunStage extends StageInfo {
  /** The folder of the model from which the stage starts. Adapters store it as their base model. */
  readonly modelFolder: string | null;
  /** The folder of the result. For the last stage, that of the complete run. */
  readonly resultFolder: string | null;
  /** Imports the state of the previous stage into the owner. Called before the companions are attached. */
  importState?(owner: Attachment): Promise<void>;
  /** Exports the state of the owner. Called at the end, with the final weights, before the strategies are disposed. */
  exportState?(owner: Attachment): Promise<void>;
}

/** How far a run is. */
export interface RunPosition {
  readonly step: number;
  readonly totalSteps: number;
  readonly stage?: string;
}

/** The checkpoints that the application requests while the run continues. */
export interface SaveRequests {
  /** The number of requests so far. */
  readonly requested: number;
  /** The number of requests that are fulfilled. */
  fulfilled: number;
}

/**
 * All components of a training run: the interface between composition (`trainer/compose/`) and engine.
 *
 * The engine attaches the strategies, calls every hook except `onRunError`, evaluates, saves, resumes, and disposes the
 * attachments. The trainer owns and disposes the model, the hooks and the optimizer. It calls `onRunError` and emits
 * the events, which are derived from the hooks.
 */
export interface TrainRun {
  readonly config: ResolvedConfig;
  readonly stage?: RunStage;
  readonly loaded: LoadedModel;
  readonly trainData: BatchSource;
  readonly evalData: BatchSource | null;
  /** The metrics that every evaluation measures in addition to the loss; null or absent without any. */
  readonly metrics?: MetricEvaluation | null;
  readonly owner: Owner;
  readonly companions: readonly Named<Strategy>[];
  readonly hooks: HookRunner;
  readonly optimizer: Named<Optimizer>;
  /**
   * Returns the schedule for a number of steps. The rate of a step is `config.optimizer.learningRate × schedule(updates
   * done)`.
   */
  readonly schedule: Named<(inputs: ScheduleInputs) => Schedule>;
  readonly backend: TensorBackendInfo;
  readonly checkpoints: CheckpointStore;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  /** If aborted, the loop finishes the current step, saves a checkpoint and throws `INTERRUPTED`. */
  readonly signal: AbortSignal;
  readonly saves?: SaveRequests;
  /** The output folder, which belongs to this run from `claimOutput` on. Null if the run writes nothing. */
  readonly outputFolder: string | null;
  /** The workers that train together: a single one if the run has one process. */
  readonly workers: Workers;
  /** Opens additional data for strategies, with the settings of the training data. */
  readonly openData?: NonNullable<StrategyRun['openData']>;
  /** What needs less memory, for errors. The engine sets it as soon as it knows what the run needs. */
  readonly memory?: { hint: string | null };
  /** The number of processes of the run on this machine, which share its memory; one if absent. */
  readonly localProcesses?: number;
  /** Logs a message and emits the event `warning`. */
  warn(message: string): void;
  /**
   * Checks that all configuration keys were read. The engine calls it once, after the strategies are attached and
   * before `onRunStart`.
   *
   * @throws `CONFIG_UNUSED_KEY`
   */
  checkUnusedKeys(): void;
  /**
   * Locks the output folder for this run, if it exists. The engine calls it before it reads the folder.
   *
   * @throws `OUTPUT_LOCKED` if another run writes to it
   */
  lockOutput?(): Promise<void>;
  /**
   * Records how far the run is, and what needs less memory, so that the next run in the folder can explain why this one
   * did not finish.
   */
  noteStatus?(changes: {
    readonly position?: RunPosition;
    readonly hint?: string;
    readonly shortage?: ExpectedShortage | null;
  }): void;
  /**
   * Claims the output folder for this run. The engine calls it once, after all checks of the configuration: until then,
   * an older run in the folder is not overwritten.
   */
  claimOutput?(): Promise<void>;
}

/**
 * The entry point of the engine. Yields a report per step and returns the report of the run. Closing the generator
 * early disposes the attachments.
 */
export type RunTraining = (run: TrainRun) => AsyncGenerator<StepReport, RunReport, void>;

/** Returns the stage's name as a field for reports. */
export const stageOf = ({ stage }: TrainRun): { readonly stage?: string } =>
  stage === undefined ? {} : { stage: stage.name };
