import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import type { Batch } from './data.js';
import type { HookName } from './hook-table.js';
import type { Json } from './json.js';
import type { LoadedModel, SupervisedPositions } from './model.js';
import type { EvaluationReport, RunReport, StageInfo, StepReport } from './report.js';
import type { StepContext } from './strategy.js';

/** What a callback may ask for. The loop decides when: at the next boundary between steps. */
export interface Control {
  /** Ends the run after the step at work. `reason` becomes `stopReason` of its report. */
  stop(reason: string): void;
  /** Evaluates once the step at work is done. */
  evaluate(): void;
  /** Writes a checkpoint once the step at work is done. */
  save(): void;
  /** Leave out the update of the step at work (only from transformGradients). */
  skipUpdate(reason: string): void;
  /**
   * Put the weights that scored best back before the run ends (only from onEvaluate and onStep: marks the present ones
   * as best).
   */
  markBest(): void;
}

/** What is known of a run, or of a stage, when it starts. */
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

/** The microbatch that a hook computes with: its batch, and which positions are supervised. */
export interface MicrobatchContext extends StepContext, SupervisedPositions {
  readonly batch: Batch;
}

/** Gradients, or parameters, by the name of the parameter. */
export type Gradients = ReadonlyMap<string, Tensor>;

/** The signatures of the hooks in `hook-table.ts`, kind by kind. */
export interface HookSignatures {
  /** Called once, or once a stage, before the first step or evaluation. */
  onRunStart(run: StartingRun, control: Control): void | Promise<void>;
  /** `epoch` counts from 0; a run that resumes within an epoch does not start it again. */
  onEpochStart(epoch: number, control: Control): void | Promise<void>;
  /** `step` is the number that the step's report will have: 1 for the first. */
  onStepStart(step: number, control: Control): void | Promise<void>;
  /** Returns the microbatch that goes through the model in place of `batch`. */
  transformBatch(batch: Batch, step: StepContext): Batch;
  /** Returns logits [positions, vocabulary] in place of those of the supervised positions. Differentiable. */
  transformLogits(logits: Tensor2D, microbatch: MicrobatchContext): Tensor2D;
  /** Returns a loss term of one microbatch, a differentiable scalar, or undefined for none. */
  addLoss(logits: Tensor2D, microbatch: MicrobatchContext): Scalar | undefined;
  /** Returns the gradients that the optimizer gets in place of the accumulated ones. */
  transformGradients(
    gradients: Gradients,
    step: StepContext & { readonly parameters: Gradients },
    control: Control,
  ): Gradients;
  /** Called after each optimizer step. */
  onStep(report: StepReport, control: Control): void | Promise<void>;
  /** Called after each evaluation. */
  onEvaluate(report: EvaluationReport, control: Control): void | Promise<void>;
  /** Called after a checkpoint was written to `folder`. */
  onSave(checkpoint: { readonly step: number; readonly folder: string }, control: Control): void | Promise<void>;
  /** Also where the run ends or stops within the epoch. */
  onEpochEnd(epoch: number, control: Control): void | Promise<void>;
  /** Called once, or once a stage, after the last step and evaluation of a run that did not fail. */
  onRunEnd(report: RunReport): void | Promise<void>;
  /** Called once, in place of `onRunEnd`, if the run failed or was interrupted. */
  onRunError(error: unknown): void | Promise<void>;
}

/** When a hook is called, compared with the same hook of other callbacks: `pre` first, `post` last. */
export type HookOrder = 'pre' | 'normal' | 'post';
/** A hook, or a hook that is called before or after those of other callbacks. */
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
  /** Returns the state that a checkpoint keeps, as plain JSON. */
  saveState?(): Json;
  /** Restores what `saveState` returned, when a run resumes. */
  loadState?(state: Json): void;
  /** Frees what the callback holds. Called once, when the run is over. */
  dispose?(): void;
}
