import type { BatchOptions as ContractBatchOptions } from '@whetstone/core/contract';

/** How conversations become batches; see the contract for each. */
export type BatchOptions = Omit<ContractBatchOptions, 'purpose'>;

/**
 * The defaults: TRL's where it has them, except that only the assistant's turns are supervised, and that what would be
 * lost silently is an error.
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
