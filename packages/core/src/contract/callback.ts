import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import type { Batch } from './data.js';
import type { HookName } from './hook-table.js';
import type { Json } from './json.js';
import type { LoadedModel, SupervisedPositions } from './model.js';
import type { EvaluationReport, RunReport, StageInfo, StepReport } from './report.js';
import type { StepContext } from './strategy.js';

/** What a callback may ask for. The loop decides when: at the next boundary between steps. */
export interface Control {
  stop(reason: string): void;
  evaluate(): void;
  save(): void;
  /** Leave out the update of the step at work (only from transformGradients). */
  skipUpdate(reason: string): void;
  /**
   * Put the weights that scored best back before the run ends (only from onEvaluate and onStep: marks the present ones
   * as best).
   */
  markBest(): void;
}

export interface RunInfo {
  /** The stage that starts, where a run has several: `onRunStart` and `onRunEnd` are called for each. */
  readonly stage?: StageInfo;
  readonly totalSteps: number;
  readonly epochs: number;
  readonly startStep: number;
  readonly outputFolder: string | null;
  readonly backend: string;
  readonly engine: string;
  /** Processes that train together. */
  readonly workers?: number;
  readonly trainableParameters: number;
  readonly totalParameters: number;
}

/** What callbacks are told when a run starts; events are told a {@link RunInfo}. */
export interface StartingRun extends RunInfo {
  /**
   * The model at work with its tokenizer and renderer, for callbacks that ask it. Not theirs to change or dispose;
   * absent where hooks are called without a run.
   */
  readonly loaded?: LoadedModel;
}

export interface MicrobatchContext extends StepContext, SupervisedPositions {
  readonly batch: Batch;
}

export type Gradients = ReadonlyMap<string, Tensor>;

/** The signatures of the hooks in `hook-table.ts`, kind by kind. */
export interface HookSignatures {
  onRunStart(run: StartingRun, control: Control): void | Promise<void>;
  /** `epoch` counts from 0; a run that resumes within an epoch does not start it again. */
  onEpochStart(epoch: number, control: Control): void | Promise<void>;
  /** `step` is the number that the step's report will have: 1 for the first. */
  onStepStart(step: number, control: Control): void | Promise<void>;
  transformBatch(batch: Batch, step: StepContext): Batch;
  transformLogits(logits: Tensor2D, microbatch: MicrobatchContext): Tensor2D;
  addLoss(logits: Tensor2D, microbatch: MicrobatchContext): Scalar | undefined;
  transformGradients(
    gradients: Gradients,
    step: StepContext & { readonly parameters: Gradients },
    control: Control,
  ): Gradients;
  onStep(report: StepReport, control: Control): void | Promise<void>;
  onEvaluate(report: EvaluationReport, control: Control): void | Promise<void>;
  onSave(checkpoint: { readonly step: number; readonly folder: string }, control: Control): void | Promise<void>;
  /** Also where the run ends or stops within the epoch. */
  onEpochEnd(epoch: number, control: Control): void | Promise<void>;
  onRunEnd(report: RunReport): void | Promise<void>;
  onRunError(error: unknown): void | Promise<void>;
}

export type HookOrder = 'pre' | 'normal' | 'post';
export type Hook<F> = F | { readonly order: Exclude<HookOrder, 'normal'>; readonly handler: F };

type Hooks = { readonly [K in HookName]?: Hook<HookSignatures[K]> };

/** A callback: an object of hooks, with optional state. */
export interface Callback extends Hooks {
  /**
   * `'skip'`: a step whose loss or gradients are not finite is reported, but makes no update. Without it, such a step
   * fails the run with `NON_FINITE`. Read once, when the run is composed. The engine checks every step anyway, so this
   * costs no additional read of the device.
   */
  readonly nonFinite?: 'skip';
  saveState?(): Json;
  loadState?(state: Json): void;
  dispose?(): void;
}
