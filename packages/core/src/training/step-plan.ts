import type { TrainingConfig } from '../config/types.js';
import { WhetstoneError } from '../contract/errors.js';

/** The number of steps of a run, and the intervals for logging, evaluation and checkpoints. */
export interface StepPlan {
  readonly totalSteps: number;
  readonly stepsPerEpoch: number;
  /** Epochs, including a partial last one. */
  readonly epochs: number;
  readonly loggingSteps: number;
  readonly evalSteps: number;
  readonly saveSteps: number;
}

/**
 * Counts steps as transformers does: the last window of an epoch may be partial, `maxSteps` above 0 overrides the
 * epochs, a fraction of an epoch is rounded up to complete steps, and intervals below 1 are ratios of all steps.
 *
 * @throws `DATA_EMPTY` if the data has no batch
 */
export function planSteps(config: TrainingConfig, batchesPerEpoch: number): StepPlan {
  if (batchesPerEpoch < 1)
    throw new WhetstoneError('DATA_EMPTY', 'The training data does not yield a batch.', {
      hint: 'Every conversation is unreadable, too long, or without target tokens.',
    });
  const stepsPerEpoch = Math.ceil(batchesPerEpoch / config.gradientAccumulationSteps);
  const totalSteps = config.maxSteps > 0 ? config.maxSteps : Math.ceil(config.numTrainEpochs * stepsPerEpoch);
  const interval = (value: number): number =>
    value < 1 ? Math.max(1, Math.ceil(value * totalSteps)) : Math.floor(value);
  return {
    totalSteps,
    stepsPerEpoch,
    epochs: Math.ceil(totalSteps / stepsPerEpoch),
    loggingSteps: interval(config.loggingSteps),
    evalSteps: interval(config.evalSteps ?? config.loggingSteps),
    saveSteps: interval(config.saveSteps),
  };
}
