import type { RunInfo } from './callback.js';

/** The size of training or evaluation data. */
export interface PlannedData {
  readonly conversations: number;
  /** The number of tokens, without padding. */
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** The number of rows that cannot be read. */
  readonly unreadable: number;
  /** The number of conversations that are truncated to the maximum length. */
  readonly truncated: number;
  /** The number of conversations without a supervised token. */
  readonly withoutTargets: number;
  /** The length of the longest conversation in tokens; null if unknown. */
  readonly longest: number | null;
  readonly batchesPerEpoch: number;
}

/** A training sample as the model receives it. */
export interface PlannedSample {
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** Consecutive tokens that are all targets of the loss, or all context. */
  readonly spans: readonly { readonly text: string; readonly tokens: number; readonly learned: boolean }[];
}

/** What a run, or one stage of it, would do: the result of a dry run. */
export interface RunPlan extends RunInfo {
  readonly stepsPerEpoch: number;
  /** The learning rate of the first and of the last step, and the highest of all. */
  readonly learningRate: { readonly first: number; readonly highest: number; readonly last: number };
  /** The number of planned evaluations from this start to the end of the run. Callbacks may request more. */
  readonly evaluations: number;
  /** The number of checkpoints that are written from this start to the end of the run. */
  readonly checkpoints: number;
  readonly data: { readonly train: PlannedData; readonly eval: PlannedData | null };
  /** The estimated peak memory of a process in bytes, and the limit that it has; null if there is none. */
  readonly memory: { readonly bytes: number; readonly limitBytes: number | null };
  /** The first samples of the training data. */
  readonly samples: readonly PlannedSample[];
}
