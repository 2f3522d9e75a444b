import type { BatchOptions as ContractBatchOptions } from '@whetstone/core/contract';

/** The options of a batch source; each is described in the contract. */
export type BatchOptions = Omit<ContractBatchOptions, 'purpose'>;

/**
 * The default options. They equal those of TRL, except that only the assistant's turns are supervised, and that data
 * which TRL drops silently is an error.
 */
export const defaultBatchOptions: BatchOptions = {
  batchSize: 8,
  maxLength: 1024,
  truncationMode: 'keep_start',
  assistantOnlyLoss: true,
  completionOnlyLoss: true,
  rolesToTrain: ['assistant'],
  lastTurnOnly: false,
  roleWeights: {},
  shuffleDataset: true,
  samplingStrategy: 'random',
  packing: false,
  packingStrategy: 'bfd',
  tokensPerBatch: null,
  balance: null,
  curriculum: null,
  paddingFree: false,
  padToMultipleOf: null,
  unreadableRows: { maxShare: 0.01 },
  samplesWithoutTargets: 'error',
  supervisionProof: 'error',
  workers: null,
  seed: 42,
};
