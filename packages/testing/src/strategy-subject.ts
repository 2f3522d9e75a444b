import type { Tensor } from '@tensorflow/tfjs-core';
import type { Attachment, ExportedAdapter, LanguageModel, StrategyRun } from '@whetstone/core/contract';
import type { Options, TestedPlugin } from './options.js';

/** What `describeStrategy` needs besides the plugin. */
export interface DescribeStrategyOptions {
  /** Returns a fresh tiny model, the same at every call. The suite disposes each. */
  readonly model: () => LanguageModel | Promise<LanguageModel>;
  /** Sets of options to test, by a name for the report. */
  readonly options: Readonly<Record<string, Options>>;
  /** Options that must be refused: by the schema, when the strategy is created, or when it is attached. */
  readonly badOptions?: Readonly<Record<string, Options>>;
  /** Whether the model computes the same right after attaching; true by default. */
  readonly startsAsBase?: boolean;
  /** Whether the seed decides what is trained (random initial values, dropout); false by default. */
  readonly seeded?: boolean;
  /**
   * Returns whether a parameter's gradient is that of the loss: false if a part is held constant on purpose (DoRA).
   * True by default.
   */
  readonly exactGradients?: (name: string) => boolean;
  /** For companions: attaches the owner of the parameters. */
  readonly owner?: (model: LanguageModel, run: StrategyRun) => Attachment | Promise<Attachment>;
  /** What the strategy needs of the run besides its seed, number of steps and model folder. */
  readonly run?: Partial<Omit<StrategyRun, 'seed'>>;
  /**
   * Puts an exported adapter on a model, to compare it with the trained model. For strategies whose adapters another
   * strategy reads. By default the plugin's own `adapter` loads them, or else `loadAdapter` of `@whetstone/strategies`.
   * Without `load`, the adapter of a strategy that decides how the base is stored (`storage`) is not compared.
   */
  readonly load?: (
    model: LanguageModel,
    adapter: ExportedAdapter,
  ) => Pick<Attachment, 'dispose'> | Promise<Pick<Attachment, 'dispose'>>;
  /** Returns the merged weights of model and adapter, by parameter name; disposed by the suite. Default: see `load`. */
  readonly merge?: (
    model: LanguageModel,
    adapter: ExportedAdapter,
  ) => ReadonlyMap<string, Tensor> | Promise<ReadonlyMap<string, Tensor>>;
  /** Largest difference of a logit that loading or merging may make; 1e-4 by default. */
  readonly parityTolerance?: number;
  /** Learning rate of the gradient descent that the suite trains with; 0.1 by default. */
  readonly learningRate?: number;
}

/** A strategy plugin with one set of options: what a check of `strategyChecks` is run on. */
export interface StrategySubject {
  readonly plugin: TestedPlugin<'strategy'>;
  readonly settings: DescribeStrategyOptions;
  /** Options as a configuration holds them, without defaults. */
  readonly options: Options;
}
