import type { Scalar, Tensor, Variable } from '@tensorflow/tfjs-core';
import type { BatchSource } from './data.js';
import type { Json } from './json.js';
import type { LanguageModel, LinearSite, ModelOutline } from './model.js';
import type { RunOutline, UnusedOption } from './run-outline.js';
import type { WeightStorage } from './storage.js';
import type { Tokenizer } from './tokenizer.js';
import type { WorkerRank } from './workers.js';

/** The state of an object as tensors and plain data. The object that returns a state still owns its tensors. */
export interface SavedState {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly values: Json;
}

/** The contents of an adapter folder in PEFT's layout. */
export interface ExportedAdapter {
  /** The tensors of `adapter_model.safetensors`, by name. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** The contents of `adapter_config.json`. */
  readonly config: Json;
  /** Other JSON files of the folder, by file name. */
  readonly files?: Readonly<Record<string, Json>>;
}

/** Describes the run that a strategy is attached to. */
export interface StrategyRun {
  /** The seed of the run. */
  readonly seed: number;
  /**
   * The number of optimizer steps of the run. It changes with a rollback, and if a run resumes with another batch size:
   * read it when it is needed.
   */
  readonly totalSteps: number;
  /** Whether a callback stopped the run, so that no step follows. It changes during the run: read it when needed. */
  readonly stopped?: boolean;
  /** The folder of the base model, for the configuration of adapters. */
  readonly modelFolder: string | null;
  /**
   * The rank of this process: 0 of 1 for a single process, and if absent. Random numbers that are drawn for each sample
   * (dropout) must differ between ranks. Only rank 0 writes files.
   */
  readonly worker?: WorkerRank;
  /**
   * The `contentHash` of the training data, as its summary holds it. With it, a strategy recognises in a file of its
   * own what an earlier attempt of the same run has written.
   */
  readonly dataHash?: string;
  /** Converts token ids to text, for strategies that store ids. */
  readonly tokenizer?: Pick<Tokenizer, 'decode'>;
  /** The attachment of the owner; present for companions only. */
  readonly owner?: Attachment;
  /** Logs a warning of the run. */
  readonly warn?: (message: string) => void;
  /**
   * Reads additional data with the run's tokenizer, template and data options.
   *
   * @param data a path, a glob, a list of them, or a data source: the forms of `data.train` in a configuration
   * @param options.shuffled shuffles the conversations once, by the run's seed; false by default
   * @param options.learned true if the data is used for training; it must then not contain the evaluation data
   * @param options.title what the data is, in messages: `replay data`; `further data` by default
   */
  readonly openData?: (
    data: Json,
    options: {
      readonly batchSize: number;
      readonly shuffled?: boolean;
      readonly learned?: boolean;
      readonly title?: string;
    },
  ) => Promise<BatchSource>;
}

/** The context of one optimizer step. Adds values to the report of the step. */
export interface StepContext {
  /** The number of optimizer steps done before this one. */
  readonly step: number;
  /** Adds a value to `metrics` of the step report. A scalar tensor is read and disposed after the step. */
  record(name: string, value: number | Scalar): void;
}

/**
 * A weight with which the model currently computes. For a layer with an adapter, it is the base weight plus the
 * adapter.
 */
export interface EffectiveWeight {
  /**
   * Computes the weight in the layout of the stored parameter. Differentiable with respect to the trained parameters;
   * call inside `tf.tidy`.
   */
  weight(): Tensor;
  /** The linear layer of the weight; null for a stored parameter that is trained itself. */
  readonly site: LinearSite | null;
}

/** Describes what a strategy will train, without reading any weight. */
export interface StrategyPlan {
  /** The shapes of the parameters that it will train, by name. */
  readonly trainable: ReadonlyMap<string, readonly number[]>;
  /** The shapes of {@link Attachment.effectiveWeights}; absent if the attachment will have none. */
  readonly effectiveWeights?: ReadonlyMap<string, readonly number[]>;
  /** The options that change nothing for this model. The run warns about each. */
  readonly unusedOptions?: readonly UnusedOption[];
  /** The number of positions that the strategy adds before each text; 0 if absent. */
  readonly virtualTokens?: number;
}

/** A strategy that is attached to a model. */
export interface Attachment {
  /** The parameters that the optimizer updates, by their name in the saved file. Empty for companions. */
  readonly trainable: ReadonlyMap<string, Variable>;
  /**
   * Makes `trainable` contain every parameter that is trained at any step. Present if `trainable` grows during the run
   * (gradual unfreezing). Returns a function that restores the parameters of the current step.
   */
  trainAll?(): () => void;
  /** Returns the learning-rate factor of a parameter (LoRA+). If absent, every factor is 1. */
  learningRateScale?(name: string): number;
  /** Returns a differentiable scalar that is added to the mean loss, once per optimizer step. */
  penalty?(step: StepContext): Scalar;
  /** Returns the training data to use instead of `source`, for example a mixture with other data. */
  wrapData?(source: BatchSource): BatchSource;
  /** Called before each optimizer step, for example to unfreeze a layer. */
  beforeStep?(step: StepContext): void;
  /**
   * Returns the weights of the base model that the trained parameters change, by parameter name. Absent if the trained
   * parameters do not correspond to weights of the base model (prefixes).
   */
  effectiveWeights?(): ReadonlyMap<string, EffectiveWeight>;
  /** Returns the adapter in PEFT's layout. Absent if the model itself is trained. */
  exportAdapter?(): ExportedAdapter;
  /**
   * Float32 copies of trainable parameters that are stored in fewer bytes, by the same names. The optimizer updates the
   * copies, and `afterUpdate` rounds them into `trainable`. Absent if the optimizer updates `trainable` itself.
   */
  readonly masters?: ReadonlyMap<string, Variable>;
  /** The dtype of the saved model; float32 if absent. */
  readonly savedAs?: 'float32' | 'bfloat16';
  /** Called after each update of the optimizer. */
  afterUpdate?(): void;
  /**
   * Requests that `dispose` merges the adapter into the weights of the model. Only for owners that export an adapter;
   * absent if the adapter cannot be merged.
   */
  merge?(): void;
  /** Returns the state, apart from `trainable`, that a checkpoint must store. */
  saveState(): SavedState;
  /** Restores the state that `saveState` returned. Called when a run resumes, and when it is rolled back. */
  loadState(state: SavedState): void;
  /** Removes all wrappers from the model and disposes all tensors of the attachment. */
  dispose(): void;
}

/** Decides which parameters are trained (owner), or adds a penalty or data to a run (companion). */
export interface Strategy {
  /** `owner`: decides which parameters are trained; each run has exactly one. `companion`: adds a penalty or data. */
  readonly role: 'owner' | 'companion';
  /**
   * The options that may differ when a run resumes: they do not decide which tensors the strategy trains, or what these
   * mean. By default, every different option is refused.
   */
  readonly changeableOptions?: readonly string[];
  /**
   * Decides how the weights of the model are stored when they are read, for owners that quantise them. It returns null
   * for weights that follow the configuration.
   */
  readonly storage?: WeightStorage;
  /**
   * Checks the options against the model before any weight is read, and returns what the strategy will train. Throws
   * the errors that `attach` would throw.
   *
   * @param owner the plan of the owner, for companions; null for the owner itself, or if the owner has no plan
   */
  plan?(model: ModelOutline, owner: StrategyPlan | null): StrategyPlan | Promise<StrategyPlan>;
  /**
   * Returns the options that change nothing in a run of this length: the run warns about each. Their paths start from
   * the options of the strategy (`reportEverySteps`). Called once, when the data is known and before `attach`.
   *
   * @throws an error if the strategy could never act
   */
  checkRun?(run: RunOutline): readonly UnusedOption[];
  /** Attaches the strategy to a loaded model. The attachment owns all tensors that it creates. */
  attach(model: LanguageModel, run: StrategyRun): Attachment | Promise<Attachment>;
}
