import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { ConsumedBatches } from '../contract/data.js';
import type { PendingRequests } from '../hooks/types.js';
import { isRecord } from '../util/index.js';
import type { BatchSizes } from './batch-sizes.js';

/** The file of a checkpoint with the state of the run. */
export const STATE_FILE = 'whetstone_state.json';

/** An entry of `log_history` in trainer_state.json, with the keys of transformers. */
export type LogEntry = Readonly<Record<string, number>>;

/** The best weights so far, with their metric. `loss` is their evaluation loss, or null if they were not evaluated. */
interface BestWeights {
  readonly step: number;
  /** The value of `metricForBestModel`, or of the loss if a callback marked the weights. */
  readonly metric: number;
  readonly loss: number | null;
}

/** The batches of a step that a rollback left out: those of an epoch from `begin` to `end`, without `end`. */
export interface LeftOutBatches {
  readonly epoch: number;
  readonly begin: number;
  readonly end: number;
}

/** A part of a run without interruption: until it is resumed, or rolled back. */
export interface Attempt {
  readonly id: string;
  /** The step after which it continued; 0 for the first one. */
  readonly startStep: number;
}

/** What a run has to do at its present step before the next one. An interrupted run does it when it is resumed. */
export interface OwedWork {
  /** The epoch for which `onEpochEnd` was not called yet since its last step, or null. */
  readonly epochEnd: number | null;
  readonly evaluate: boolean;
  readonly save: boolean;
  /** In a checkpoint: the requests of callbacks that were not fulfilled. Null during the run. */
  readonly requests: PendingRequests | null;
}

/** The progress of a run, as immutable plain data. Every checkpoint contains it. */
export interface RunState {
  /** The number of optimizer steps done. */
  readonly step: number;
  /** The current epoch, counted from 0. */
  readonly epoch: number;
  /** The number of batches of the current epoch that were consumed or left out. */
  readonly batchesConsumed: number;
  readonly samples: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** The time spent on training in seconds, without evaluation and saving. */
  readonly seconds: number;
  readonly evalLossBefore: number | null;
  readonly lastEvaluation: { readonly step: number; readonly loss: number } | null;
  readonly best: BestWeights | null;
  readonly logHistory: readonly LogEntry[];
  /** The losses of the steps since the last entry of the log. */
  readonly unloggedLosses: readonly number[];
  /** The learning rate that a callback set; null if the schedule determines it. */
  readonly learningRate: { readonly value: number; readonly reason: string } | null;
  /** The batches that rollbacks left out, one entry per rollback. */
  readonly leftOut: readonly LeftOutBatches[];
  /** The attempts of the run in turn. They tell which checkpoints are in the history of another one. */
  readonly attempts: readonly Attempt[];
  readonly owed: OwedWork;
  /** The sizes in which `batchesConsumed` counts; null before the run starts. */
  readonly sizes: BatchSizes | null;
  /** The batches of the current epoch that were consumed before the sizes changed. */
  readonly consumed: readonly ConsumedBatches[];
  /** The number of steps done, minus those that the same position takes with the present sizes. */
  readonly stepShift: number;
}

export const initialRunState: RunState = {
  step: 0,
  epoch: 0,
  batchesConsumed: 0,
  samples: 0,
  tokens: 0,
  supervisedTokens: 0,
  seconds: 0,
  evalLossBefore: null,
  lastEvaluation: null,
  best: null,
  logHistory: [],
  unloggedLosses: [],
  learningRate: null,
  leftOut: [],
  attempts: [],
  owed: { epochEnd: null, evaluate: false, save: false, requests: null },
  sizes: null,
  consumed: [],
  stepShift: 0,
};

/** The keys that checkpoints of earlier versions lack. */
const addedKeys: readonly string[] = [
  'learningRate',
  'leftOut',
  'attempts',
  'owed',
  'sizes',
  'consumed',
  'stepShift',
] satisfies (keyof RunState)[];

/**
 * Checks the run state of a checkpoint and returns it.
 *
 * @throws `CHECKPOINT_INVALID` if keys are missing
 */
export function parseRunState(value: unknown, file: string): RunState {
  const keys = Object.keys(initialRunState).filter((key) => !addedKeys.includes(key));
  const missing = isRecord(value) ? keys.filter((key) => !(key in value)) : keys;
  if (missing.length > 0)
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The state of the run lacks keys.', {
      place: { file },
      expected: missing.join(', '),
    });
  return { ...initialRunState, ...(value as unknown as RunState) };
}

/** The fields of trainer_state.json that are not in the run state. */
export interface TrainerStateFacts {
  readonly totalSteps: number;
  readonly epochsDone: number;
  readonly numTrainEpochs: number;
  readonly evalSteps: number;
  readonly loggingSteps: number;
  readonly saveSteps: number;
  readonly trainBatchSize: number;
  readonly totalParameters: number;
  readonly bestFolder: string | null;
  readonly callbacks: Json;
}

/** Returns the contents of trainer_state.json, with the keys of transformers, for tools that read its checkpoints. */
export function trainerState(state: RunState, facts: TrainerStateFacts): Json {
  const callbacks = isRecord(facts.callbacks) ? (facts.callbacks as Record<string, Json>) : {};
  return {
    best_global_step: state.best?.step ?? null,
    best_metric: state.best?.metric ?? null,
    best_model_checkpoint: facts.bestFolder,
    epoch: facts.epochsDone,
    eval_steps: facts.evalSteps,
    global_step: state.step,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    log_history: state.logHistory,
    logging_steps: facts.loggingSteps,
    max_steps: facts.totalSteps,
    num_input_tokens_seen: state.tokens,
    num_train_epochs: facts.numTrainEpochs,
    save_steps: facts.saveSteps,
    stateful_callbacks: Object.fromEntries(
      Object.entries(callbacks).map(([name, attributes]) => [name, { args: {}, attributes }]),
    ),
    // The forward and backward pass take about six operations per parameter and token.
    total_flos: 6 * facts.totalParameters * state.tokens,
    train_batch_size: facts.trainBatchSize,
    trial_name: null,
    trial_params: null,
  };
}
