import {
  batchSchema,
  type BatchOptions,
  type BatchSource,
  type BatchSourceDependencies,
  type Json,
} from '../contract/index.js';
import type { PluginUse, ResolvedConfig } from '../config/types.js';

/** The keys that the section `data` of a configuration and the options of batches have in common. */
type SharedKey = keyof BatchOptions & keyof ResolvedConfig['data'];

/** Returns the batch options that the section `data` of a configuration sets for training or evaluation. */
export function batchOptions({ data, training }: ResolvedConfig, purpose: 'train' | 'eval'): BatchOptions {
  const shared = Object.fromEntries(
    Object.entries(data).filter(([key]) => key in batchSchema.properties),
  ) as unknown as Pick<ResolvedConfig['data'], SharedKey>;
  const isTraining = purpose === 'train';
  return {
    ...shared,
    purpose,
    completionOnlyLoss: data.completionOnlyLoss ?? true,
    batchSize: isTraining ? training.perDeviceTrainBatchSize : training.perDeviceEvalBatchSize,
    shuffleDataset: isTraining && data.shuffleDataset,
    samplingStrategy: isTraining ? data.trainSamplingStrategy : 'sequential',
    packing: isTraining && data.packing,
    tokensPerBatch: isTraining ? data.tokensPerBatch : null,
    balance: isTraining ? data.balance : null,
    curriculum: isTraining ? data.curriculum : null,
    seed: training.dataSeed ?? training.seed,
  };
}

/**
 * Returns the data source for a path, a list of paths, or `{use, options}`. Options that are not given are those of the
 * training data.
 */
export function furtherData(data: Json, train: PluginUse): PluginUse {
  if (typeof data === 'string' || Array.isArray(data))
    return { use: train.use, options: { ...train.options, path: data } };
  const { use = train.use, options = {} } = data as { readonly use?: string; readonly options?: PluginUse['options'] };
  if (use === train.use) return { use, options: { ...train.options, ...options } };
  return { use, options };
}

/** The default of `deduplicate`, so that it removes the same samples as this check reports. */
const DEFAULT_LEAKAGE_THRESHOLD = 0.7;

/**
 * Returns the evaluation data that the training data must not repeat. Empty without such data, or if repetition is
 * allowed.
 */
export function heldOutOf(
  { data: { leakage } }: ResolvedConfig,
  evalData: BatchSource | null,
): Pick<BatchSourceDependencies, 'heldOut'> {
  const { policy = 'error', threshold = DEFAULT_LEAKAGE_THRESHOLD } =
    typeof leakage === 'string' ? { policy: leakage } : leakage;
  return evalData === null || policy === 'off' ? {} : { heldOut: { data: evalData, policy, threshold } };
}
