import type { ActivationName } from '@whetstone/core/ops';
import type { ConfigRecord } from '../config-reader.js';
import type { Biases, NormShape, TensorNames } from '../shape.js';

/**
 * What an architecture has of its own, as data. Adding one that fits the decoder means writing such a record and
 * listing it in `index.ts`. Numbers that config.json may leave out stand in `defaults`, under config.json's own names,
 * as transformers assumes them.
 */
export interface ArchitectureSpec {
  /** `model_type` in config.json. */
  readonly modelType: string;
  readonly defaults: ConfigRecord;
  /** Other names of config.json's fields, by their usual name. */
  readonly renamed?: Readonly<Record<string, string>>;
  readonly names: TensorNames;
  readonly norm: Omit<NormShape, 'epsilon'>;
  readonly queryKeyNorm?: boolean;
  readonly fanInFanOut?: boolean;
  readonly defaultActivation: ActivationName;
  /** Biases, each fixed or decided by a field of config.json. */
  readonly biases: { readonly [K in keyof Biases]: boolean | string };
  /**
   * Which layers see only a window of `sliding_window` tokens: none; all, where the field is set; or some, by
   * `layer_types` or, where that is absent, by the function.
   */
  readonly sliding: 'none' | 'all' | ((layer: number, config: ConfigRecord) => boolean);
  /**
   * Rotary tables: none, one for all layers, or one per layer type. By layer type, full layers use `rope_theta` and
   * `rope_scaling`, sliding ones `rope_local_base_freq` (Gemma 3); or each its record of `rope_parameters`.
   */
  readonly rope: 'none' | 'one' | 'by layer type';
  /** Factor of query · key: 1/√headDim, or 1/√`query_pre_attn_scalar`. */
  readonly attentionScale: 'head dim' | 'query_pre_attn_scalar';
  /** Embeddings are multiplied by √hiddenSize. */
  readonly scaledEmbedding?: boolean;
}
