import { batchSchema, defaultsOf, type BatchOptions as ContractBatchOptions } from '@whetstone/core/contract';

/** The options of a batch source; each is described in the contract. */
export type BatchOptions = Omit<ContractBatchOptions, 'purpose'>;

/**
 * The default options. They equal those of TRL, except that only the assistant's turns are supervised, and that data
 * which TRL drops silently is an error. As in TRL, conversations share rows only if an application requests it, whereas
 * a configuration does so by default.
 */
export const defaultBatchOptions: BatchOptions = { ...defaultsOf(batchSchema), paddingFree: false };
