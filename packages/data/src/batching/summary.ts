import type { DataSummary } from '@whetstone/core/contract';
import type { GroupShare } from './balance.js';
import type { NothingToLearnCause } from '../examples/tokenize.js';

/** The summary of the contract with further counts. */
export interface BatchSourceSummary extends DataSummary {
  /** Samples in the data: conversations without those that are skipped because they have no target tokens. */
  readonly samples: number;
  /** Samples without target tokens, by cause. */
  readonly withoutTargetsByCause: Readonly<Partial<Record<NothingToLearnCause, number>>>;
  /** Tokens of the longest sample. */
  readonly longest: number;
  /** The size of each group, if there is a balance. */
  readonly groups?: readonly GroupShare[];
}
