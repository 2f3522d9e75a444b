import type { ActivationName } from '@whetstone/core/ops';

/**
 * A decoder, described: everything that distinguishes one model from another, as plain data. `decoder.ts` computes
 * whatever stands here; `specs/` says how each architecture's config.json becomes one.
 */
export interface DecoderShape {
  /** `model_type` of config.json. */
  readonly architecture: string;
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  /** Query heads share key/value heads in groups of heads / keyValueHeads. */
  readonly keyValueHeads: number;
  readonly headDim: number;
  /** Longest sequence the model was made for. */
  readonly maxLength: number;
  readonly layers: readonly LayerShape[];
  readonly norm: NormShape;
  /** RMSNorm of each head's query and key, before the rotation (Qwen 3, Gemma 3). */
  readonly queryKeyNorm: boolean;
  readonly activation: ActivationName;
  /** Rotary tables that layers point to; empty where positions are learned. */
  readonly ropes: readonly Rope[];
  readonly attentionSoftCap: number | null;
  readonly logitSoftCap: number | null;
  /** Embeddings are multiplied by it (Gemma: √hiddenSize). */
  readonly embeddingScale: number;
  readonly tiedHead: boolean;
  readonly biases: Biases;
  /** Linear weights are stored [in, out] (GPT-2's Conv1D) instead of [out, in]. */
  readonly fanInFanOut: boolean;
  readonly names: TensorNames;
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number;
}

export interface LayerShape {
  /** A token sees itself and the window − 1 tokens before it; null: all of them. */
  readonly window: number | null;
  /** Index into `ropes`, or null where the layer rotates nothing. */
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
 * What the parts of the model are called in its files. A layer's tensor is
 * `<prefix>.<layers>.<i>.<block>.<name>.weight`.
 */
export interface TensorNames {
  readonly prefix: string;
  readonly embedding: string;
  /** Learned positions (GPT-2), or null. */
  readonly positions: string | null;
  readonly layers: string;
  readonly attention: string;
  /** Query, key and value; a single name is one layer with the three stacked in that order. */
  readonly queryKeyValue: readonly string[];
  readonly attentionOutput: string;
  readonly mlp: string;
  /** `gate, up`: two layers. `stacked`: one layer with gate above up. `plain`: no gate at all. */
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

/** One table of rotary frequencies. */
export interface Rope {
  /** Features of a head that are rotated: the first `rotated`. */
  readonly rotated: number;
  /** Cosines and sines are multiplied by it (yarn, longrope). */
  readonly attentionFactor: number;
  /** Radians per position, [rotated / 2]. Some kinds depend on the length at hand: the largest position + 1. */
  frequencies(length: number): Float32Array;
}
