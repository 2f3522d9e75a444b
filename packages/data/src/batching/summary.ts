import type { DataSummary } from '@whetstone/core/contract';
import type { GroupShare } from './balance.js';
import type { NothingToLearnCause } from '../examples/tokenize.js';

/** The summary of the contract, and what only this package knows. */
export interface BatchSourceSummary extends DataSummary {
  /** Samples in an epoch: conversations that were read, less those without targets where they are skipped. */
  readonly samples: number;
  /** Samples without a target, by cause. */
  readonly withoutTargetsByCause: Readonly<Partial<Record<NothingToLearnCause, number>>>;
  /** Tokens of the longest sample. */
  readonly longest: number;
  /** Under a balance: what each group has, and how often an epoch draws from it. */
  readonly groups?: readonly GroupShare[];
}
