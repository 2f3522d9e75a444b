/** Identifies one stage of a run that has several. */
export interface StageInfo {
  readonly name: string;
  /** The position of the stage, counted from 0. */
  readonly index: number;
  /** The number of stages of the run. */
  readonly count: number;
}

/** The results of one optimizer step, as plain numbers. */
export interface StepReport {
  /** The stage that the step belongs to, if the run has stages. Steps count from 1 in each stage. */
  readonly stage?: string;
  /** The number of optimizer steps done, including this one. */
  readonly step: number;
  readonly totalSteps: number;
  /** The number of epochs done, with its fraction: 1.5 in the middle of the second epoch. */
  readonly epoch: number;
  /** The mean loss over the target tokens of the step, in nats, weighted by their weights. Excludes penalties. */
  readonly loss: number;
  readonly learningRate: number;
  /** The reason that a callback gave for the learning rate. Absent if the schedule determines the rate. */
  readonly learningRateReason?: string;
  /** Present in the first step after a rollback: its reason, and the step after which it was requested. */
  readonly rollback?: { readonly reason: string; readonly fromStep: number };
  /** The number of microbatches whose gradients were accumulated. */
  readonly microbatches: number;
  /** The number of conversations. */
  readonly samples: number;
  /** The number of tokens that are not padding. */
  readonly tokens: number;
  /** The number of target tokens. */
  readonly supervisedTokens: number;
  /** The duration of the step in seconds. */
  readonly seconds: number;
  /** Whether the update was made. False if the step was skipped. */
  readonly updated: boolean;
  /** The reason why the update was skipped; absent if it was made. */
  readonly skipReason?: string;
  /** Which value is not finite: the loss, or only a gradient. Absent if both are finite. The update is then skipped. */
  readonly nonFinite?: 'loss' | 'gradient';
  /** Values that strategies and callbacks recorded, by name (`gradNorm`, `ewcPenalty`, …). */
  readonly metrics: Readonly<Record<string, number>>;
}

/** The results of one evaluation, as plain numbers. */
export interface EvaluationReport {
  /** The stage that the evaluation belongs to, if the run has stages. */
  readonly stage?: string;
  /** The number of optimizer steps done before the evaluation. */
  readonly step: number;
  /** The number of epochs done, with its fraction. */
  readonly epoch: number;
  /** The mean loss over all target tokens of the evaluation data, in nats. */
  readonly loss: number;
  /** `exp(loss)`. */
  readonly perplexity: number;
  /** The number of target tokens. */
  readonly supervisedTokens: number;
  /** The number of conversations. */
  readonly samples: number;
  /** The duration of the evaluation in seconds. */
  readonly seconds: number;
  /** Values of the metrics, by name. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** The results of a run, or of one of its stages, as plain numbers. */
export interface RunReport {
  /** The stage that the report describes; absent in the report of a complete run. */
  readonly stage?: string;
  /** The reports of the stages, in the report of a complete run that has stages. */
  readonly stages?: readonly RunReport[];
  /** The evaluation loss before the first step; null if it was not measured. */
  readonly evalLossBefore: number | null;
  /** The evaluation loss of the final weights; null if it was not measured. */
  readonly evalLossAfter: number | null;
  /** The number of optimizer steps done. */
  readonly steps: number;
  /** The duration of training in seconds, without evaluation. */
  readonly seconds: number;
  readonly samplesPerSecond: number;
  readonly tokensPerSecond: number;
  readonly supervisedTokensPerSecond: number;
  /** The largest resident memory of the process, in bytes. */
  readonly peakMemoryBytes: number;
  readonly backend: string;
  readonly engine: string;
  /** The absolute path of the run's folder, or null if the run wrote nothing. */
  readonly outputFolder: string | null;
  /** The reason that ended the run early; null if it ran to its last step. */
  readonly stopReason: string | null;
}
