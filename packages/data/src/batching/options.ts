import type { SupervisionOptions } from '../examples/supervision.js';
import type { TruncationMode } from '../examples/truncate.js';
import type { PackingStrategy } from '../packing/pack.js';
import type { SamplingStrategy } from './order.js';

/** How conversations become batches. Names and defaults are TRL's where it has them. */
export interface BatchOptions extends SupervisionOptions {
  /** Rows of a batch. */
  readonly batchSize: number;
  /** Tokens that a sample may have; null for any number. */
  readonly maxLength: number | null;
  readonly truncationMode: TruncationMode;
  /** Shuffle the samples once, before anything else. */
  readonly shuffleDataset: boolean;
  readonly samplingStrategy: SamplingStrategy;
  /** Put several samples into each row of `maxLength` tokens, none of which sees another. */
  readonly packing: boolean;
  readonly packingStrategy: PackingStrategy;
  /**
   * Batches of as many rows as fit into this many tokens, padding included, instead of `batchSize` rows; null for batches of `batchSize`. Which rows
   * share a batch is then the same in every epoch, and the order of the batches differs.
   */
  readonly tokensPerBatch: number | null;
  /** Round the length of a batch up to a multiple of this. */
  readonly padToMultipleOf: number | null;
  /** What a row that cannot be read means: an error that lists all of them, or one less row, counted and reported. */
  readonly unreadableRows: 'error' | 'skip';
  /** What a sample without a single target means: an error that says why, or one less sample, counted and reported, or nothing (`keep`, as TRL). */
  readonly samplesWithoutTargets: 'error' | 'skip' | 'keep';
  /**
   * What is done where a turn's end is not learned, or training shows the model another text before a turn than serving would: an error, a warning,
   * or nothing is looked at.
   */
  readonly supervisionProof: 'error' | 'warn' | 'off';
  readonly seed: number;
}

export const defaultBatchOptions: BatchOptions = {
  batchSize: 8,
  maxLength: 1024,
  truncationMode: 'keep_start',
  assistantOnlyLoss: true,
  rolesToTrain: ['assistant'],
  lastTurnOnly: false,
  shuffleDataset: true,
  samplingStrategy: 'random',
  packing: false,
  packingStrategy: 'bfd',
  tokensPerBatch: null,
  padToMultipleOf: null,
  unreadableRows: 'error',
  samplesWithoutTargets: 'error',
  supervisionProof: 'error',
  seed: 42,
};
