import type { CheckpointStore } from '../checkpoint/store.js';
import type { ResolvedConfig } from '../config/types.js';
import type {
  Attachment,
  BatchSource,
  Clock,
  LoadedModel,
  Logger,
  Optimizer,
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
import type { Named } from './named.js';
import type { ReplyMetrics } from './reply-metrics.js';
import type { HookRunner } from '../hooks/types.js';

/** What makes a run one of several stages. */
export interface RunStage extends StageInfo {
  /** The folder of the model that the stage starts from, for adapters to name. */
  readonly modelFolder: string | null;
  /** Where the result goes: the last stage's is that of the whole run. */
  readonly resultFolder: string | null;
  /** Puts into the owner what the stage before has learned; called before the companions are attached. */
  importState?(owner: Attachment): void;
  /** Called at the end, with the final weights in place and everything still attached. */
  exportState?(owner: Attachment): Promise<void>;
}

/**
 * Everything one training run consists of, composed and ready: the seam between composition (`trainer.ts`) and engine.
 *
 * The engine attaches the strategies, calls every hook but `onRunError`, evaluates, saves and resumes, and disposes
 * what it made (attachments). The trainer owns and disposes what it handed over: model, hooks, optimizer. It calls
 * `onRunError` and emits the events, which are derived from the hooks: the engine emits none.
 */
export interface TrainRun {
  readonly config: ResolvedConfig;
  readonly stage?: RunStage;
  readonly loaded: LoadedModel;
  readonly trainData: BatchSource;
  readonly evalData: BatchSource | null;
  /** What the model's own answers are measured with at every evaluation; null where nothing is. */
  readonly replies?: ReplyMetrics | null;
  readonly owner: Named<Strategy>;
  readonly companions: readonly Named<Strategy>[];
  readonly hooks: HookRunner;
  readonly optimizer: Named<Optimizer>;
  /**
   * Gives the schedule once the number of steps is known. The rate of a step is `config.optimizer.learningRate ×
   * schedule(updates done)`.
   */
  readonly schedule: Named<(inputs: ScheduleInputs) => Schedule>;
  readonly backend: TensorBackendInfo;
  readonly checkpoints: CheckpointStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Aborted: the loop finishes the step at work, saves a checkpoint and throws `INTERRUPTED`. */
  readonly signal: AbortSignal;
  /** Exists and belongs to this run from `claimOutput` on. Null where the run writes nothing. */
  readonly outputFolder: string | null;
  /** Those that train together; one by default. */
  readonly workers?: Workers;
  /** Opens further data for strategies, read as the run reads its own. */
  readonly openData?: NonNullable<StrategyRun['openData']>;
  /** Logs, and emits the event `warning`. */
  warn(message: string): void;
  /** Throws `CONFIG_UNUSED_KEY`. Called once by the engine: after everything is attached and before `onRunStart`. */
  checkUnusedKeys(): void;
  /**
   * Makes the output folder this run's own. Called once by the engine, when nothing of the configuration can be found
   * wrong any more: before, an older run is still there.
   */
  claimOutput?(): Promise<void>;
}

/**
 * The engine's only entry: yields a report a step, returns the report of the run. Closing the generator early disposes
 * what the engine made.
 */
export type RunTraining = (run: TrainRun) => AsyncGenerator<StepReport, RunReport, void>;

/** The stage's name as reports carry it. */
export const stageOf = ({ stage }: TrainRun): { readonly stage?: string } =>
  stage === undefined ? {} : { stage: stage.name };
