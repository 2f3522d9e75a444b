import type { BatchSourceFactory, Logger, ModelLoader } from './plugin.js';

declare const service: unique symbol;

/** A key of the container, branded with the type of what it gives. */
export type Token<T> = symbol & { readonly [service]?: T };

const token = <T>(name: string): Token<T> => Symbol.for(`whetstone.${name}`) as Token<T>;

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
}

export interface Clock {
  /** Monotonic seconds. */
  now(): number;
  /** Wall time, ISO 8601. */
  timestamp(): string;
}

export const TENSOR_BACKEND = token<TensorBackendInfo>('TENSOR_BACKEND');
export const MODEL_LOADER = token<ModelLoader>('MODEL_LOADER');
export const BATCH_SOURCE_FACTORY = token<BatchSourceFactory>('BATCH_SOURCE_FACTORY');
export const CLOCK = token<Clock>('CLOCK');
export const LOGGER = token<Logger>('LOGGER');
