import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import { isRecord } from '../util/index.js';

/** An entry of `log_history` in trainer_state.json, under the keys of transformers. */
export type LogEntry = Readonly<Record<string, number>>;

/** The best weights so far and what they scored; `loss` is that of the evaluation, null where none was made of them. */
interface BestWeights {
  readonly step: number;
  /** The value of `metricForBestModel`, or of the loss where a callback marked them. */
  readonly metric: number;
  readonly loss: number | null;
}

/** Where a run stands: plain data, replaced and never changed. All of it is in every checkpoint. */
export interface RunState {
  /** Optimizer steps done. */
  readonly step: number;
  /** The epoch at work, 0-based, and how many of its batches were consumed. */
  readonly epoch: number;
  readonly batchesConsumed: number;
  readonly samples: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** Seconds of training, evaluation and saving excluded. */
  readonly seconds: number;
  readonly evalLossBefore: number | null;
  readonly lastEvaluation: { readonly step: number; readonly loss: number } | null;
  readonly best: BestWeights | null;
  readonly logHistory: readonly LogEntry[];
  /** Losses since the last entry of the log. */
  readonly unloggedLosses: readonly number[];
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
};

/** The run state out of a checkpoint's JSON. Throws `CHECKPOINT_INVALID`. */
export function parseRunState(value: unknown, file: string): RunState {
  const wanted = Object.keys(initialRunState);
  const missing = isRecord(value) ? wanted.filter((key) => !(key in value)) : wanted;
  if (missing.length > 0)
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The state of the run lacks something.', {
      place: { file },
      expected: missing.join(', '),
    });
  return value as unknown as RunState;
}

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

/** trainer_state.json under the keys of transformers, so that its readers understand our checkpoints. */
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
    // Forward and backward pass take about six operations a parameter and token.
    total_flos: 6 * facts.totalParameters * state.tokens,
    train_batch_size: facts.trainBatchSize,
    trial_name: null,
    trial_params: null,
  };
}
