import type { ActivationName } from '@whetstone/core/ops';

/**
 * Describes a decoder as plain data: everything that distinguishes one model from another. `decoder.ts` computes it.
 * `read-shape.ts` reads it from config.json, with the rules of the architecture in `specs/`.
 */
export interface DecoderShape {
  /** `model_type` of config.json. */
  readonly architecture: string;
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  /** heads ÷ keyValueHeads query heads share one key/value head. */
  readonly keyValueHeads: number;
  readonly headDim: number;
  /** Length of the longest sequence that the model supports, in tokens. */
  readonly maxLength: number;
  readonly layers: readonly LayerShape[];
  readonly norm: NormShape;
  /** RMSNorm of each head's query and key, before the rotation (Qwen 3, Gemma 3). */
  readonly queryKeyNorm: boolean;
  readonly activation: ActivationName;
  /** Rotary tables, which `LayerShape.rope` refers to by index; empty if positions are learned. */
  readonly ropes: readonly Rope[];
  readonly attentionSoftCap: number | null;
  readonly logitSoftCap: number | null;
  /** Factor of the embeddings (Gemma: √hiddenSize). */
  readonly embeddingScale: number;
  readonly tiedHead: boolean;
  readonly biases: Biases;
  /** Linear weights are stored [in, out] (GPT-2's Conv1D) instead of [out, in]. */
  readonly fanInFanOut: boolean;
  readonly names: TensorNames;
  /** Standard deviation of newly initialised weights. */
  readonly initializerRange: number;
}

export interface LayerShape {
  /** A token sees itself and the `window − 1` tokens before it; if null, all tokens before it. */
  readonly window: number | null;
  /** Index into `ropes`, or null if the layer has no rotary positions. */
  readonly rope: number | null;
  /** Factor of query · key. */
  readonly attentionScale: number;
}

export interface NormShape {
  readonly kind: 'rms' | 'layer';
  readonly epsilon: number;
  /** The stored weight is added to this (Gemma: 1). */
  readonly weightOffset: number;
}

/** Which linear layers have a bias. */
export interface Biases {
  readonly queryKeyValue: boolean;
  readonly attentionOutput: boolean;
  readonly gateUp: boolean;
  readonly down: boolean;
}

/**
 * Names of the modules in the model's files. The weight of a linear layer is
 * `<prefix>.<layers>.<i>.<block>.<name>.weight`.
 */
export interface TensorNames {
  readonly prefix: string;
  readonly embedding: string;
  /** The table of learned positions (GPT-2), or null. */
  readonly positions: string | null;
  readonly layers: string;
  readonly attention: string;
  /** Query, key and value; a single name means one layer that stacks the three in this order. */
  readonly queryKeyValue: readonly string[];
  readonly attentionOutput: string;
  readonly mlp: string;
  /** `gate, up`: two layers. `stacked`: one layer, gate rows before up rows. `plain`: no gate. */
  readonly gateUp: { readonly kind: 'gate, up' | 'stacked' | 'plain'; readonly layers: readonly string[] };
  readonly down: string;
  readonly norms: {
    readonly beforeAttention: string;
    readonly afterAttention: string | null;
    readonly beforeMlp: string;
    readonly afterMlp: string | null;
    readonly final: string;
    readonly query: string;
    readonly key: string;
  };
}

/** Rotary frequencies of the layers that refer to them. */
export interface Rope {
  /** Number of rotated features per head; they are the first ones. */
  readonly rotated: number;
  /** Factor of the cosines and sines (yarn, longrope). */
  readonly attentionFactor: number;
  /** Returns radians per position, [rotated / 2]. `length` is the largest position + 1; dynamic and longrope use it. */
  frequencies(length: number): Float32Array;
}
