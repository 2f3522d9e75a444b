import type { ResolvedConfig } from '../config/types.js';
import type { ConsumedBatches } from '../contract/data.js';

/** The sizes in which a run counts its position: what a batch holds, and how many batches make a step. */
export interface BatchSizes extends Omit<ConsumedBatches, 'ranges'> {
  readonly accumulation: number;
}

/** Returns the sizes that a configuration sets. */
export const sizesOf = ({ training, data }: Pick<ResolvedConfig, 'training' | 'data'>): BatchSizes => ({
  batchSize: training.perDeviceTrainBatchSize,
  tokensPerBatch: data.tokensPerBatch,
  padToMultipleOf: data.padToMultipleOf,
  accumulation: training.gradientAccumulationSteps,
});
