import type { LoadedModel } from '@whetstone/core/contract';
import type { Options, TestedPlugin } from './options.js';

/** What `describeCallback` needs besides the plugin. */
export interface DescribeCallbackOptions {
  /** Sets of options to test, by a name for the report. */
  readonly options: Readonly<Record<string, Options>>;
  /** Options that must be refused: by the schema, or when the callback is created or told that a run starts. */
  readonly badOptions?: Readonly<Record<string, Options>>;
  /** Whether the seed decides what the callback does; false by default. */
  readonly seeded?: boolean;
  /** Metrics that evaluations report besides loss and perplexity. */
  readonly evaluationMetrics?: Readonly<Record<string, number>>;
  /** Number of tokens in the vocabulary of the batches and logits; 12 by default. */
  readonly vocabularySize?: number;
  /**
   * Returns a small model of at least `vocabularySize` tokens, for callbacks that use the model of the run; the suite
   * disposes it.
   */
  readonly loaded?: () => LoadedModel;
}

/** A callback or logger plugin with one set of options: what a check of `callbackChecks` is run on. */
export interface CallbackSubject {
  readonly plugin: TestedPlugin<'callback'> | TestedPlugin<'logger'>;
  readonly settings: DescribeCallbackOptions;
  /** Options as a configuration holds them, without defaults. */
  readonly options: Options;
}
