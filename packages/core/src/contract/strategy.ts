import type { Scalar, Tensor, Variable } from '@tensorflow/tfjs-core';
import type { BatchSource } from './data.js';
import type { Json } from './json.js';
import type { LanguageModel } from './model.js';
import type { WeightStorage } from './storage.js';
import type { WorkerPlace } from './workers.js';

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
  /** Which of several processes this is; absent where there is one. Random numbers that every sample needs anew (dropout) are to differ between them, and rank 0 alone writes files. */
  readonly worker?: WorkerPlace;
  /** The owner at work; given to companions. */
  readonly owner?: Attachment;
  /** Reads further data (a path, glob, list or data source, as `data.train` in a configuration) the way the run reads its own. */
  readonly openData?: (data: Json, options: { readonly batchSize: number }) => Promise<BatchSource>;
}

/** What one step lets a strategy or callback do: add numbers to the report. Tensors are read once the step is done, and disposed. */
export interface StepContext {
  /** Optimizer steps done before this one. */
  readonly step: number;
  record(name: string, value: number | Scalar): void;
}

/** A strategy at work on one model. */
export interface Attachment {
  /** Parameters the optimizer updates, by their name in the saved file; empty for strategies that own no parameters. */
  readonly trainable: ReadonlyMap<string, Variable>;
  /** Learning-rate factor of a parameter (LoRA+); 1 where absent. */
  learningRateScale?(name: string): number;
  /** Added once a step to the mean loss. Differentiable. */
  penalty?(step: StepContext): Scalar;
  /** Replaces the training data by a mixture. */
  wrapData?(source: BatchSource): BatchSource;
  /** Called before each step (gradual unfreezing). */
  beforeStep?(step: StepContext): void;
  /** The adapter alone, in PEFT's layout; absent where the whole model is what was trained. */
  exportAdapter?(): ExportedAdapter;
  /**
   * Float32 copies of what `trainable` keeps in fewer bytes, by the same names: the optimizer updates them, and `afterUpdate` rounds them into
   * `trainable`. Absent where `trainable` itself is updated.
   */
  readonly masters?: ReadonlyMap<string, Variable>;
  /** Called after each update. */
  afterUpdate?(): void;
  /** Puts what was learned into the model's own weights when the attachment is disposed; absent where that cannot be. Only for owners that export an adapter. */
  merge?(): void;
  /** State besides `trainable` that resume needs. */
  saveState(): SavedState;
  loadState(state: SavedState): void;
  /** Takes every wrapper off and disposes what the strategy made. */
  dispose(): void;
}

export interface Strategy {
  /** `owner`: decides what is trained; exactly one a run. `companion`: regularises or mixes data beside an owner. */
  readonly role: 'owner' | 'companion';
  /** How the model's weights are to be kept when they are read (an owner that quantises them); null for those it leaves to the configuration. */
  readonly storage?: WeightStorage;
  attach(model: LanguageModel, run: StrategyRun): Attachment | Promise<Attachment>;
}
