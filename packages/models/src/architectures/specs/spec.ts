import type { ActivationName } from '@whetstone/core/ops';
import type { ConfigRecord } from '../config-reader.js';
import type { Biases, NormShape, TensorNames } from '../shape.js';

/**
 * Describes an architecture as data. To add an architecture that the decoder can compute, write a record and list it in
 * `index.ts`. `defaults` has the values that transformers assumes for fields that config.json omits, under the field
 * names of config.json.
 */
export interface ArchitectureSpec {
  /** `model_type` in config.json. */
  readonly modelType: string;
  readonly defaults: ConfigRecord;
  /** The architecture's own field names in config.json, by their usual name. */
  readonly renamed?: Readonly<Record<string, string>>;
  readonly names: TensorNames;
  readonly norm: Omit<NormShape, 'epsilon'>;
  readonly queryKeyNorm?: boolean;
  readonly fanInFanOut?: boolean;
  readonly defaultActivation: ActivationName;
  /** Activations that config.json names differently from what the published models compute. */
  readonly activationAliases?: Readonly<Record<string, ActivationName>>;
  /** Biases: fixed, or the name of the field of config.json that decides. */
  readonly biases: { readonly [K in keyof Biases]: boolean | string };
  /**
   * Layers that see only a window of `sliding_window` tokens: none; all, if the field is set; or the layers that
   * `layer_types` lists. If `layer_types` is absent, the function decides.
   */
  readonly sliding: 'none' | 'all' | ((layer: number, config: ConfigRecord) => boolean);
  /**
   * Rotary tables: none, one for all layers, or one per layer type. With one per layer type (Gemma 3), full layers use
   * `rope_theta` and `rope_scaling`, sliding layers `rope_local_base_freq`; or each has a record in `rope_parameters`.
   */
  readonly rope: 'none' | 'one' | 'by layer type';
  /** Factor of query · key: 1 ÷ √headDim, or 1 ÷ √`query_pre_attn_scalar`. */
  readonly attentionScale: 'head dim' | 'query_pre_attn_scalar';
  /** True if embeddings are multiplied by √hiddenSize. */
  readonly scaledEmbedding?: boolean;
}
