import type { Scalar, Tensor, Variable } from '@tensorflow/tfjs-core';
import type { BatchSource } from './data.js';
import type { Json } from './json.js';
import type { LanguageModel, LinearSite, ModelOutline } from './model.js';
import type { WeightStorage } from './storage.js';
import type { WorkerRank } from './workers.js';

/** Tensors and plain data of something that can be saved. The tensors stay owned by whoever gave them. */
export interface SavedState {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly values: Json;
}

/** A folder to be written: tensors of `adapter_model.safetensors`, and `adapter_config.json`. */
export interface ExportedAdapter {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly config: Json;
  /** Further JSON files of the folder, by name. */
  readonly files?: Readonly<Record<string, Json>>;
}

/** What a strategy may know of the run it is attached to. */
export interface StrategyRun {
  readonly seed: number;
  readonly totalSteps: number;
  /** Folder of the base model, for adapters to name. */
  readonly modelFolder: string | null;
  /**
   * Which of several processes this is; absent where there is one. Random numbers that every sample needs anew
   * (dropout) are to differ between them, and rank 0 alone writes files.
   */
  readonly worker?: WorkerRank;
  /** The owner at work; given to companions. */
  readonly owner?: Attachment;
  /**
   * Reads further data (a path, glob, list or data source, as `data.train` in a configuration) the way the run reads
   * its own; in its order, or shuffled once by the run's seed. What is `learned` from must not repeat the evaluation
   * data.
   */
  readonly openData?: (
    data: Json,
    options: { readonly batchSize: number; readonly shuffled?: boolean; readonly learned?: boolean },
  ) => Promise<BatchSource>;
}

/**
 * What one step lets a strategy or callback do: add numbers to the report. Tensors are read once the step is done, and
 * disposed.
 */
export interface StepContext {
  /** Optimizer steps done before this one. */
  readonly step: number;
  /** Adds a number to `metrics` of the report of the step. A scalar is read and disposed after the step. */
  record(name: string, value: number | Scalar): void;
}

/** A weight as the model computes with it now: of a layer that an adapter changes, base and adapter in one. */
export interface EffectiveWeight {
  /** In the layout of the stored parameter. Differentiable with respect to what is trained; call inside `tf.tidy`. */
  weight(): Tensor;
  /** The layer whose weight it is; null for a stored parameter that is trained as it is. */
  readonly site: LinearSite | null;
}

/** What a strategy would do to a model, known before any weight is. */
export interface StrategyPlan {
  /** Shapes of what it would train, by name. */
  readonly trainable: ReadonlyMap<string, readonly number[]>;
  /** Shapes of {@link Attachment.effectiveWeights}, where it has some. */
  readonly effectiveWeights?: ReadonlyMap<string, readonly number[]>;
}

/** A strategy at work on one model. */
export interface Attachment {
  /** Parameters the optimizer updates, by their name in the saved file; empty for strategies that own no parameters. */
  readonly trainable: ReadonlyMap<string, Variable>;
  /**
   * Trains everything that is trained at some step, where `trainable` grows (gradual unfreezing); the result goes back
   * to what the present step trains.
   */
  trainAll?(): () => void;
  /** Learning-rate factor of a parameter (LoRA+); 1 where absent. */
  learningRateScale?(name: string): number;
  /** Added once a step to the mean loss. Differentiable. */
  penalty?(step: StepContext): Scalar;
  /** Replaces the training data by a mixture. */
  wrapData?(source: BatchSource): BatchSource;
  /** Called before each step (gradual unfreezing). */
  beforeStep?(step: StepContext): void;
  /**
   * What the trained parameters come to in the base's own weights, by parameter name; absent where that cannot be told
   * (prefixes).
   */
  effectiveWeights?(): ReadonlyMap<string, EffectiveWeight>;
  /** The adapter alone, in PEFT's layout; absent where the whole model is what was trained. */
  exportAdapter?(): ExportedAdapter;
  /**
   * Float32 copies of what `trainable` keeps in fewer bytes, by the same names: the optimizer updates them, and
   * `afterUpdate` rounds them into `trainable`. Absent where `trainable` itself is updated.
   */
  readonly masters?: ReadonlyMap<string, Variable>;
  /** What the trained model is written as; float32 where it is left out. */
  readonly savedAs?: 'float32' | 'bfloat16';
  /** Called after each update. */
  afterUpdate?(): void;
  /**
   * Puts what was learned into the model's own weights when the attachment is disposed; absent where that cannot be.
   * Only for owners that export an adapter.
   */
  merge?(): void;
  /** State besides `trainable` that resume needs. */
  saveState(): SavedState;
  /** Restores what `saveState` returned. */
  loadState(state: SavedState): void;
  /** Takes every wrapper off and disposes what the strategy made. */
  dispose(): void;
}

/** Decides what is trained, or adds a penalty or data beside a strategy that does. */
export interface Strategy {
  /** `owner`: decides what is trained; exactly one a run. `companion`: regularises or mixes data beside an owner. */
  readonly role: 'owner' | 'companion';
  /**
   * How the model's weights are to be kept when they are read (an owner that quantises them); null for those it leaves
   * to the configuration.
   */
  readonly storage?: WeightStorage;
  /**
   * Throws what `attach` would throw for options that do not fit the model, before any weight is read. `owner` is given
   * to companions, where the owner has a plan.
   */
  plan?(model: ModelOutline, owner: StrategyPlan | null): StrategyPlan | Promise<StrategyPlan>;
  /** Puts the strategy on a loaded model. The attachment owns what it makes. */
  attach(model: LanguageModel, run: StrategyRun): Attachment | Promise<Attachment>;
}
