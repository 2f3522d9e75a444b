/** One of the stages of a run that goes through several. */
export interface StageInfo {
  readonly name: string;
  /** From 0. */
  readonly index: number;
  readonly count: number;
}

/** What one optimizer step did, in plain numbers. */
export interface StepReport {
  /** The stage that the step belongs to, where a run has several; steps count from 1 in each. */
  readonly stage?: string;
  /** Optimizer steps done, this one included. */
  readonly step: number;
  readonly totalSteps: number;
  /** Fraction of epochs done. */
  readonly epoch: number;
  /** Mean loss of the supervised tokens of the step, by their weights where turns have some; penalties excluded. */
  readonly loss: number;
  readonly learningRate: number;
  readonly microbatches: number;
  readonly samples: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  readonly seconds: number;
  /** Whether the update was made; false if a callback asked to skip it. */
  readonly updated: boolean;
  /** Why the update was skipped; absent if it was made. */
  readonly skipReason?: string;
  /** What is not finite: the loss, or only a gradient. Absent if both are finite. Such a step makes no update. */
  readonly nonFinite?: 'loss' | 'gradient';
  /** What strategies and callbacks recorded (`gradNorm`, `ewcPenalty`, …). */
  readonly metrics: Readonly<Record<string, number>>;
}

/** What one evaluation measured, in plain numbers. */
export interface EvaluationReport {
  readonly stage?: string;
  readonly step: number;
  readonly epoch: number;
  /** Token-weighted mean loss over the whole evaluation set. */
  readonly loss: number;
  readonly perplexity: number;
  readonly supervisedTokens: number;
  readonly samples: number;
  readonly seconds: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** What a run did, in plain numbers. */
export interface RunReport {
  /** The stage that was run; the report of a whole run with stages has none, but theirs. */
  readonly stage?: string;
  readonly stages?: readonly RunReport[];
  readonly evalLossBefore: number | null;
  readonly evalLossAfter: number | null;
  readonly steps: number;
  /** Seconds of training alone, evaluation excluded. */
  readonly seconds: number;
  readonly samplesPerSecond: number;
  readonly tokensPerSecond: number;
  readonly supervisedTokensPerSecond: number;
  readonly peakMemoryBytes: number;
  readonly backend: string;
  readonly engine: string;
  readonly outputFolder: string | null;
  readonly stopReason: string | null;
}
