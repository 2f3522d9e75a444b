import type { Tensor } from '@tensorflow/tfjs-core';
import type { BatchSource } from './data.js';
import type { LoadedModel } from './model.js';
import type { TensorCluster, TensorCollective } from './workers.js';
import type { BatchSourceFactory, Logger, ModelLoader, ReplyGenerator, TextGenerator } from './plugin.js';

declare const service: unique symbol;

/** A key of the container, branded with the type of what it gives. */
export type Token<T> = symbol & { readonly [service]?: T };

/** A token by its name; the same name gives the same token, also in another installed copy of the package. */
export const defineToken = <T>(name: string): Token<T> => Symbol.for(`whetstone.${name}`) as Token<T>;

/** The tensor backend that a run computes on, as resolved. */
export interface TensorBackendInfo {
  /** tfjs-core backend name: `whetstone`, `wasm`, `cpu`, `tensorflow`, … */
  readonly backend: string;
  /** `tensorflow`, `xla`, or the backend's own name. */
  readonly engine: string;
  /** Why this one: a sentence for people. */
  readonly reason: string;
  /** Ends an optimizer step: everything recorded so far is handed to the device. Does nothing on eager backends. */
  barrier(): void;
  /**
   * Present where parts of a step that do not depend on one another are computed faster beside each other: records them
   * as such.
   */
  sideBySide?<T>(record: () => T): T;
  /** Present where it was asked for several devices. */
  readonly replicas?: TensorReplicas;
  /** Present where it was resolved for a cluster. */
  readonly collective?: TensorCollective;
}

/**
 * Several devices of one process: a model's parameters are the same on all, each computes the gradients of a part of a
 * step.
 */
export interface TensorReplicas {
  readonly count: number;
  /**
   * What is recorded from now on is computed on this device, counted from 0, or alike on `all`. What was recorded
   * before is handed over.
   */
  use(device: number | 'all'): void;
  /** The sum of one tensor from each device, on all of them. Recorded, as other operations are. */
  sum(tensors: readonly Tensor[]): Tensor;
}

/**
 * Chooses a tensor backend and makes it tfjs-core's current one: one that sums over processes where there is a cluster.
 * Throws `BACKEND_UNAVAILABLE`.
 */
export interface BackendResolver {
  /** Chooses a backend and makes it the current one of tfjs-core. */
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

/** Tells the time. */
export interface Clock {
  /** Monotonic seconds. */
  now(): number;
  /** Wall time, ISO 8601. */
  timestamp(): string;
}

// What the caller of a Trainer registers.
/** Chooses the tensor backend. */
export const BACKEND_RESOLVER = defineToken<BackendResolver>('BACKEND_RESOLVER');
/** Loads the model. */
export const MODEL_LOADER = defineToken<ModelLoader>('MODEL_LOADER');
/** Makes batches from data sources. */
export const BATCH_SOURCE_FACTORY = defineToken<BatchSourceFactory>('BATCH_SOURCE_FACTORY');
/** Measures the time of steps and of the run. */
export const CLOCK = defineToken<Clock>('CLOCK');
/** Receives the messages of a run. */
export const LOGGER = defineToken<Logger>('LOGGER');

/** Loads models that plugins ask (paraphrases); optional. */
export const TEXT_GENERATORS = defineToken<(model: string) => Promise<TextGenerator>>('TEXT_GENERATORS');

/** Has the model that is trained answer the evaluation data, for metrics; optional. */
export const REPLY_GENERATOR = defineToken<ReplyGenerator>('REPLY_GENERATOR');

// What a run makes from its configuration, unless it is registered ready-made.
/** The tensor backend in use; registered ready-made, it is not resolved. */
export const TENSOR_BACKEND = defineToken<TensorBackendInfo>('TENSOR_BACKEND');
/** The model that is trained; registered ready-made, it is not loaded. */
export const LOADED_MODEL = defineToken<LoadedModel>('LOADED_MODEL');
/** The training data; registered ready-made, `data.train` is not read. */
export const TRAIN_DATA = defineToken<BatchSource>('TRAIN_DATA');
/** The evaluation data, or null for none; registered ready-made, `data.eval` is not read. */
export const EVAL_DATA = defineToken<BatchSource | null>('EVAL_DATA');
