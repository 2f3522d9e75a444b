import type { Tensor } from '@tensorflow/tfjs-core';
import type { Json } from './json.js';
import type { LanguageModel, NamedTensors } from './model.js';

/** The contents of an adapter folder in PEFT's layout. The caller of a function that takes them owns the tensors. */
export interface AdapterFiles {
  /** The contents of `adapter_config.json`. */
  readonly config: Json;
  /** The tensors of `adapter_model.safetensors`, by name. */
  readonly tensors: NamedTensors;
  /** The path of the folder, for error messages. */
  readonly folder?: string;
}

/** An adapter that was read for a model. */
export interface PreparedAdapter {
  /** Makes the model compute with the adapter. Returns a function that restores the model. May be called repeatedly. */
  attach(): () => void;
  /** Disposes the tensors that were created for the adapter. It is detached by then. */
  dispose(): void;
}

/**
 * Reads and merges the adapters that a strategy exports, so that `whetstone generate`, `chat`, `evaluate` and `merge`
 * can use them. An adapter folder names its type in `peft_type` of `adapter_config.json`.
 */
export interface AdapterFormat {
  /** The values of `peft_type` that the strategy exports. No other strategy may read them. */
  readonly peftTypes: readonly string[];
  /**
   * Reads an adapter for a model, without changing the model. The tensors of the files stay valid until the result is
   * disposed.
   *
   * @throws `ADAPTER_INVALID` if the adapter does not match the model
   */
  load(model: LanguageModel, files: AdapterFiles): PreparedAdapter | Promise<PreparedAdapter>;
  /**
   * Computes the weights of the model that the adapter changes, by parameter name, including the adapter. The model
   * does not change, and the caller owns the tensors. If the head shares the weight of the embedding and the adapter
   * changes only one of them, the result contains a weight for the head. Absent if such adapters cannot be merged.
   *
   * @throws `ADAPTER_INVALID` if the adapter does not match the model
   */
  merge?(model: LanguageModel, files: AdapterFiles): ReadonlyMap<string, Tensor> | Promise<ReadonlyMap<string, Tensor>>;
}
