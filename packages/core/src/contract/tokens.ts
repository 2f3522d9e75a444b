import type { Tensor } from '@tensorflow/tfjs-core';
import type { Callback } from './callback.js';
import type { BatchSource } from './data.js';
import type { LoadedModel, ModelOutline } from './model.js';
import type { Metric, ReplyGenerator } from './metric.js';
import type { Optimizer, Schedule } from './optimizer.js';
import type { TensorCluster, TensorCollective } from './workers.js';
import type {
  BatchSourceFactory,
  DataSource,
  Logger,
  LossMeter,
  ModelLoader,
  ScheduleInputs,
  TextGenerator,
} from './plugin.js';

declare const service: unique symbol;

/** A key of the service container, branded with the type of its service. */
export type Token<T> = symbol & { readonly [service]?: T };

/**
 * Returns the token of a name. The same name returns the same token, even from another installed copy of the package.
 */
export const defineToken = <T>(name: string): Token<T> => Symbol.for(`whetstone.${name}`) as Token<T>;

/** The tensor backend that a run computes with. */
export interface TensorBackendInfo {
  /** The name of the tfjs-core backend: `whetstone`, `wasm`, `cpu`, `tensorflow`, … */
  readonly backend: string;
  /** The engine of the backend: `tensorflow`, `xla`, or the backend's own name. */
  readonly engine: string;
  /** A sentence that explains why this backend was selected. */
  readonly reason: string;
  /** The memory of one accelerator in bytes, null if it is unknown. Absent if a processor computes. */
  readonly deviceMemoryBytes?: number | null;
  /** Submits all recorded operations to the engine. Does nothing on eager backends. */
  barrier(): void;
  /**
   * Records operations that the engine may run in parallel if they do not depend on each other. Returns the result of
   * `record`. Absent if the engine gains nothing from it.
   */
  sideBySide?<T>(record: () => T): T;
  /** Present if the backend was resolved for several devices. */
  readonly replicas?: TensorReplicas;
  /** Present if the backend was resolved for a cluster. */
  readonly collective?: TensorCollective;
}

/**
 * The devices of one process that train together. All of them hold the same parameters. Each computes the gradients of
 * some of a step's microbatches.
 */
export interface TensorReplicas {
  /** The number of devices. */
  readonly count: number;
  /**
   * Selects the device for the operations that are recorded from now on: a device counted from 0, or `'all'`, on which
   * each operation runs identically. Submits the operations recorded before.
   */
  use(device: number | 'all'): void;
  /** Records the sum of one tensor per device. The sum is available on all devices. */
  sum(tensors: readonly Tensor[]): Tensor;
}

/** Selects the tensor backend of a run. */
export interface BackendResolver {
  /**
   * Selects a backend and makes it the current backend of tfjs-core.
   *
   * @param wanted.name the backend, or `auto`
   * @param wanted.threads the number of CPU threads; null: the backend decides
   * @param wanted.engine the engine of the backend; null or absent: the best one for the machine
   * @param wanted.cluster the processes to sum gradients over; null or absent: none
   * @param wanted.devices the number of devices that compute a step together; null or absent: one
   * @param wanted.matmul the precision of matmuls; null or absent: float32
   * @throws `BACKEND_UNAVAILABLE` if no backend, or not the requested one, can be used
   */
  resolve(
    wanted: {
      readonly name: string;
      readonly threads: number | null;
      readonly engine?: string | null;
      readonly cluster?: TensorCluster | null;
      readonly devices?: number | null;
      readonly matmul?: 'float32' | 'bfloat16' | null;
    },
    logger: Logger,
  ): Promise<TensorBackendInfo>;
}

/** Measures time. */
export interface Clock {
  /** Returns the time of a monotonic clock in seconds. */
  now(): number;
  /** Returns the wall-clock time in ISO 8601. */
  timestamp(): string;
}

/**
 * The seeds of a run. Every stream of random numbers is a function of a seed and a purpose, so that a resumed run, a
 * worker thread and another process draw the same numbers.
 */
export interface RandomSource {
  /** The seed of plugins and strategies. */
  readonly seed: number;
  /** The seed of the order of the data. */
  readonly dataSeed: number;
}

// Services that the caller of a Trainer registers.
/** Selects the tensor backend. */
export const BACKEND_RESOLVER = defineToken<BackendResolver>('BACKEND_RESOLVER');
/** Loads the model. */
export const MODEL_LOADER = defineToken<ModelLoader>('MODEL_LOADER');
/** Makes batches from data sources. */
export const BATCH_SOURCE_FACTORY = defineToken<BatchSourceFactory>('BATCH_SOURCE_FACTORY');
/** Measures the time of steps and of the run. */
export const CLOCK = defineToken<Clock>('CLOCK');
/** Receives the messages of a run. */
export const LOGGER = defineToken<Logger>('LOGGER');

/** Loads models that generate text for plugins (paraphrases); null if the application does not support it (default). */
export const TEXT_GENERATORS = defineToken<((model: string) => Promise<TextGenerator>) | null>('TEXT_GENERATORS');

/**
 * Opens loss meters for plugins (veto of augmented copies), for a model by its folder or name or for a loaded one; null
 * if the application does not support it (default).
 */
export const LOSS_METERS = defineToken<
  ((model: string | LoadedModel, backend: TensorBackendInfo) => Promise<LossMeter>) | null
>('LOSS_METERS');

/** Generates replies of the trained model to the evaluation data. Needed only by metrics of replies. */
export const REPLY_GENERATOR = defineToken<ReplyGenerator>('REPLY_GENERATOR');

// Services that a run creates from its configuration. A registered service replaces what the configuration selects.
/** The tensor backend in use. If it is registered, `backend` of the configuration is ignored. */
export const TENSOR_BACKEND = defineToken<TensorBackendInfo>('TENSOR_BACKEND');
/** The seeds of the run: `training.seed` and `training.dataSeed`. */
export const RANDOM = defineToken<RandomSource>('RANDOM');
/** Writes metrics: the loggers of the configuration. With several processes, only the one of rank 0 uses them. */
export const LOGGERS = defineToken<readonly Callback[]>('LOGGERS');
/** Updates the parameters. */
export const OPTIMIZER = defineToken<Optimizer>('OPTIMIZER');
/** Returns the factors of the learning rate for a number of steps. */
export const SCHEDULE = defineToken<(inputs: ScheduleInputs) => Schedule>('SCHEDULE');
/** The metrics that every evaluation computes. */
export const METRICS = defineToken<readonly Metric[]>('METRICS');
/** The conversations to train on; null if `TRAIN_DATA` is registered. */
export const TRAIN_SOURCE = defineToken<DataSource | null>('TRAIN_SOURCE');
/** The conversations to evaluate on; null without any, or if `EVAL_DATA` is registered. */
export const EVAL_SOURCE = defineToken<DataSource | null>('EVAL_SOURCE');
/** The structure of the model, which strategies check their options against before weights are read; null: unknown. */
export const MODEL_OUTLINE = defineToken<ModelOutline | null>('MODEL_OUTLINE');
/** The model to train. If it is registered, no model is loaded. */
export const LOADED_MODEL = defineToken<LoadedModel>('LOADED_MODEL');
/** The training data. If it is registered, `data.train` is not read. */
export const TRAIN_DATA = defineToken<BatchSource>('TRAIN_DATA');
/** The evaluation data, or null for none. If it is registered, `data.eval` is not read. */
export const EVAL_DATA = defineToken<BatchSource | null>('EVAL_DATA');
