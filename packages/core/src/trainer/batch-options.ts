import type { BatchOptions, BatchSource, BatchSourceDependencies, Json } from '../contract/index.js';
import type { PluginUse, ResolvedConfig } from '../config/types.js';

/** How the `data` part of a configuration makes batches, for training or for evaluation. */
export function batchOptions({ data, training }: ResolvedConfig, purpose: 'train' | 'eval'): BatchOptions {
  const {
    maxLength,
    truncationMode,
    assistantOnlyLoss,
    completionOnlyLoss,
    rolesToTrain,
    lastTurnOnly,
    roleWeights,
    packingStrategy,
    paddingFree,
    padToMultipleOf,
    unreadableRows: unreadable,
    samplesWithoutTargets,
    supervisionProof,
    workers,
  } = data;
  const learning = purpose === 'train';
  const unreadableRows = typeof unreadable === 'string' ? unreadable : { maxShare: unreadable.maxShare };
  return {
    purpose,
    maxLength,
    truncationMode,
    assistantOnlyLoss,
    completionOnlyLoss: completionOnlyLoss ?? true,
    rolesToTrain,
    lastTurnOnly,
    roleWeights,
    packingStrategy,
    paddingFree,
    padToMultipleOf,
    unreadableRows,
    samplesWithoutTargets,
    supervisionProof,
    workers,
    batchSize: learning ? training.perDeviceTrainBatchSize : training.perDeviceEvalBatchSize,
    shuffleDataset: learning && data.shuffleDataset,
    samplingStrategy: learning ? data.trainSamplingStrategy : 'sequential',
    packing: learning && data.packing,
    tokensPerBatch: learning ? data.tokensPerBatch : null,
    balance: learning ? data.balance : null,
    curriculum: learning ? data.curriculum : null,
    seed: training.dataSeed ?? training.seed,
  };
}

/**
 * A path, list of paths or `{use, options}` as the data source that it means: what it leaves open is as in the training
 * data.
 */
export function furtherData(data: Json, train: PluginUse): PluginUse {
  if (typeof data === 'string' || Array.isArray(data))
    return { use: train.use, options: { ...train.options, path: data } };
  const { use = train.use, options = {} } = data as { readonly use?: string; readonly options?: PluginUse['options'] };
  if (use === train.use) return { use, options: { ...train.options, ...options } };
  return { use, options };
}

/** That of `deduplicate`: what one finds, the other takes out. */
const DEFAULT_LEAKAGE_THRESHOLD = 0.7;

/** Evaluation data that training data must not repeat; nothing where there is none, or it may. */
export function heldOutOf(
  { data: { leakage } }: ResolvedConfig,
  evalData: BatchSource | null,
): Pick<BatchSourceDependencies, 'heldOut'> {
  const { policy = 'error', threshold = DEFAULT_LEAKAGE_THRESHOLD } =
    typeof leakage === 'string' ? { policy: leakage } : leakage;
  return evalData === null || policy === 'off' ? {} : { heldOut: { data: evalData, policy, threshold } };
}
