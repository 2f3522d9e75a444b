/** Describes a run before its first step, for options that depend on its length, its evaluations or what it trains. */
export interface RunOutline {
  /** The number of optimizer steps. */
  readonly totalSteps: number;
  /** The number of optimizer steps in an epoch. */
  readonly stepsPerEpoch: number;
  /** The number of batches of the training data that the run reads. */
  readonly batches: number;
  /** Whether evaluations are planned, or a callback could request one. */
  readonly evaluates: boolean;
  /** The number of planned evaluations; null if a callback could request further ones. */
  readonly evaluations: number | null;
  /** The names of the numbers of an evaluation; null if a metric does not declare its own. */
  readonly evaluationNumbers: readonly string[] | null;
  /** The names of the parameters that are trained; null if the strategy has no plan. */
  readonly trainable: readonly string[] | null;
}

/** An option that the user set and that changes nothing in this run, or less than it says. */
export interface UnusedOption {
  /** The path of the option in the configuration, for example `strategy.options.excludeModules[0]`. */
  readonly path: string;
  /** Why it changes nothing, as the end of a sentence: `the model has no biases`. */
  readonly reason: string;
  /** What is wrong with the option; `has no effect` if absent. */
  readonly effect?: string;
}
