import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import type { Batch } from './data.js';
import type { HookName } from './hook-table.js';
import type { Json } from './json.js';
import type { LoadedModel, SupervisedPositions } from './model.js';
import type { EvaluationReport, RunReport, StageInfo, StepReport } from './report.js';
import type { RunOutline, UnusedOption } from './run-outline.js';
import type { StepContext } from './strategy.js';

/**
 * The requests that a callback can make of the training loop. The loop acts on them after the current step, except
 * `skipUpdate`, which applies to the current step itself.
 */
export interface Control {
  /** Ends the run after the current step. `reason` becomes `stopReason` of the run report; the first reason counts. */
  stop(reason: string): void;
  /** Evaluates after the current step. */
  evaluate(): void;
  /** Writes a checkpoint after the current step. */
  save(): void;
  /**
   * Skips the update of the current step. `reason` becomes `skipReason` of the step report.
   *
   * @throws `CONFIG_CONFLICT` if called from a hook other than `transformGradients`
   */
  skipUpdate(reason: string): void;
  /**
   * Marks the current weights as the best so far. The best weights are restored before the run ends.
   *
   * @throws `CONFIG_CONFLICT` if called from a hook other than `onEvaluate` and `onStep`
   */
  markBest(): void;
  /**
   * Sets the learning rate from the next step on. It replaces the base rate and the schedule: every later update has
   * the rate `value`, times the factor of the strategy for a parameter, until the next call. Checkpoints store it. If
   * several callbacks call it after one step, the last call counts.
   *
   * @param reason becomes `learningRateReason` of the reports of these steps
   * @throws `CONFIG_CONFLICT` if called from a hook other than `onRunStart`, `onEpochStart`, `onStep` and `onEvaluate`
   * @throws `RangeError` if the value is not a finite number of at least 0
   */
  setLearningRate(value: number, reason: string): void;
  /**
   * Returns the run to its state before the step that followed the newest checkpoint, or at its start if it has written
   * none, and leaves out the batches of the last step. Weights, optimizer, strategies, callbacks, the position in the
   * data and the learning rate become those of that point; a rate that is set after the same step applies. Only a
   * callback with `rollsBack: true` may call it.
   *
   * @param reason becomes part of a warning, and `rollback` of the next step report
   * @throws `CONFIG_CONFLICT` if called from a hook other than `onStep` and `onEvaluate`, or without `rollsBack`. After
   *   the hook, if no step was made since the start or the last rollback
   */
  rollback(reason: string): void;
}

/** Describes a run, or one stage of a run, at its start. */
export interface RunInfo {
  /** The stage that starts; absent if the run has no stages. */
  readonly stage?: StageInfo;
  /** Optimizer steps from step 1 to the end, including those done before a resume. */
  readonly totalSteps: number;
  readonly epochs: number;
  /** Optimizer steps done before this start: 0, or the step of the checkpoint that the run resumes from. */
  readonly startStep: number;
  /** The absolute path of the run's folder, or null if the run writes nothing. */
  readonly outputFolder: string | null;
  /** The name of the tfjs-core backend. */
  readonly backend: string;
  /** The engine of the backend: `tensorflow`, `xla`, or the backend's own name. */
  readonly engine: string;
  /** The number of processes that train together; 1 if absent. */
  readonly workers?: number;
  /** The number of scalars that the optimizer updates. */
  readonly trainableParameters: number;
  /** The number of scalars in the model, including those of an adapter. */
  readonly totalParameters: number;
}

/** The argument of `onRunStart`. Listeners of the event `run:start` get only the {@link RunInfo}. */
export interface StartingRun extends RunInfo {
  /**
   * The model in training with its tokenizer and renderer, for callbacks that generate text or compute with it. The run
   * owns it: a callback must neither change nor dispose it. Absent if hooks are called without a run, as in tests.
   */
  readonly loaded?: LoadedModel;
}

/** The context of one microbatch: the batch, its supervised positions and the step it belongs to. */
export interface MicrobatchContext extends StepContext, SupervisedPositions {
  readonly batch: Batch;
}

/** Tensors by parameter name: gradients, or the parameters themselves. */
export type Gradients = ReadonlyMap<string, Tensor>;

/** The signatures of the hooks that `hook-table.ts` lists. */
export interface HookSignatures {
  /** Called once per run, or once per stage, before the first step or evaluation. */
  onRunStart(run: StartingRun, control: Control): void | Promise<void>;
  /**
   * Called before the first batch of an epoch. `epoch` counts from 0. A run that resumes in the middle of an epoch does
   * not call it for that epoch.
   */
  onEpochStart(epoch: number, control: Control): void | Promise<void>;
  /** Called before each optimizer step. `step` is the number that the step's report will have: 1 for the first. */
  onStepStart(step: number, control: Control): void | Promise<void>;
  /** Returns the microbatch that the model computes with instead of `batch`. */
  transformBatch(batch: Batch, step: StepContext): Batch;
  /**
   * Returns the logits that replace `logits`. Must be differentiable.
   *
   * @param logits of the supervised positions of the microbatch, `[positions, vocabulary]`
   */
  transformLogits(logits: Tensor2D, microbatch: MicrobatchContext): Tensor2D;
  /**
   * Returns a loss term of the microbatch, a differentiable scalar, or undefined to add nothing.
   *
   * @param logits of the supervised positions of the microbatch, `[positions, vocabulary]`
   */
  addLoss(logits: Tensor2D, microbatch: MicrobatchContext): Scalar | undefined;
  /** Returns the gradients that the optimizer uses instead of the accumulated ones. */
  transformGradients(
    gradients: Gradients,
    step: StepContext & { readonly parameters: Gradients },
    control: Control,
  ): Gradients;
  /** Called after each optimizer step. */
  onStep(report: StepReport, control: Control): void | Promise<void>;
  /** Called after each evaluation. */
  onEvaluate(report: EvaluationReport, control: Control): void | Promise<void>;
  /** Called after a checkpoint has been written to `folder`. */
  onSave(checkpoint: { readonly step: number; readonly folder: string }, control: Control): void | Promise<void>;
  /** Called after the last step of an epoch, and if the run ends or stops in the middle of one. */
  onEpochEnd(epoch: number, control: Control): void | Promise<void>;
  /** Called once per run, or once per stage, after the last step and evaluation. Not called if the run failed. */
  onRunEnd(report: RunReport): void | Promise<void>;
  /** Called once, instead of `onRunEnd`, if the run failed or was interrupted. */
  onRunError(error: unknown): void | Promise<void>;
}

/**
 * The position of a hook among the hooks of the same name in other callbacks: `pre` hooks are called first, `post`
 * hooks last. Within one order, callbacks are called in the order of the configuration.
 */
export type HookOrder = 'pre' | 'normal' | 'post';
/** A hook: a function, or an object that also says when the function is called ({@link HookOrder}). */
export type Hook<F> = F | { readonly order: Exclude<HookOrder, 'normal'>; readonly handler: F };

type Hooks = { readonly [K in HookName]?: Hook<HookSignatures[K]> };

/** The name of a request that a callback can make. */
export type RequestName = keyof Control;

/** A callback: an object of hooks, with optional state. It must have at least one hook or `nonFinite`. */
export interface Callback extends Hooks {
  /**
   * `'skip'`: a step whose loss or gradients are not finite is reported but makes no update. If no callback sets it,
   * the run fails with `NON_FINITE`. Read once, when the run is composed. The engine checks every step in any case, so
   * the option costs no additional read of the device.
   */
  readonly nonFinite?: 'skip';
  /**
   * True if the callback may call `control.rollback`. The run then keeps a copy of the trained weights, of the
   * optimizer's state and of the strategies' states in host memory (12 bytes per trained parameter with `adamw`). If no
   * callback sets it, nothing is kept. Read once, when the run is composed.
   */
  readonly rollsBack?: true;
  /**
   * The requests that the callback may make; `[]` for none. A run whose evaluations or learning rate no callback can
   * change finds more mistakes before its first step. If absent, a callback may make any request, provided that one of
   * its hooks takes `control`. Read once, when the run is composed.
   */
  readonly requests?: readonly RequestName[];
  /**
   * Checks that the callback can act in this run, and returns its options that change nothing: the run warns about
   * each. Their paths start from the options of the callback. Called once, when the data is known and before the first
   * step.
   *
   * @throws an error if the callback could never act
   */
  checkRun?(run: RunOutline): readonly UnusedOption[];
  /**
   * Returns the weights with which the model is evaluated, sampled and exported, if they differ from the training
   * weights (moving averages). By parameter name; parameters without an entry keep their training weights. The callback
   * owns the tensors: they must exist until the next step. They are in the model during evaluations and `onEvaluate`,
   * and at the end of the run; all other hooks see the training weights. Only one optimizer or callback of a run can
   * provide them.
   */
  evaluationWeights?(): ReadonlyMap<string, Tensor>;
  /**
   * Returns the state to store in a checkpoint, as plain JSON. May be async, so that tensors can be read without
   * waiting for the device (`await tensor.data()`).
   */
  saveState?(): Json | Promise<Json>;
  /**
   * Replaces the state by one that `saveState` returned. Called when a run resumes, and when it is rolled back to an
   * earlier step.
   */
  loadState?(state: Json): void;
  /** Releases everything that the callback owns. Called once, when the run is over, even if it failed. */
  dispose?(): void;
}
