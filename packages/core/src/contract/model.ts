import type { Tensor, Tensor2D, Tensor4D, Variable } from '@tensorflow/tfjs-core';
import type { Json } from './json.js';

/** How a linear layer computes: `input` is [tokens, inFeatures], the result [tokens, outFeatures]. */
export interface LinearForward {
  (input: Tensor2D): Tensor2D;
  /**
   * Where it is a product and an addition and nothing else: what it computes with at the moment. Whoever wraps it may
   * compute that together with what it adds.
   */
  readonly plain?: () => PlainLinear;
}

/** What a linear layer computes with that nobody wrapped: `input · weightᵀ + bias`. */
export interface PlainLinear {
  /** [out, in] or, under `fanInFanOut`, [in, out]. */
  readonly weight: Tensor2D;
  readonly fanInFanOut: boolean;
  /** [out] */
  readonly bias: Tensor | null;
}

/**
 * A linear layer by its module path, as `model.layers.0.self_attn.q_proj` or `transformer.h.0.attn.c_attn`.
 * Strategies wrap sites and never know architectures.
 */
export interface LinearSite {
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** True for GPT-2's Conv1D: the weight is stored [in, out] instead of [out, in]. */
  readonly fanInFanOut: boolean;
  /** The stored weight, [out, in] or, under `fanInFanOut`, [in, out]. */
  readonly weight: Variable;
  readonly bias: Variable | null;
  /** True for `lm_head`. PEFT's `all-linear` leaves the output layer out. */
  readonly isOutput: boolean;
  /** Puts `wrapper` around the layer; wrappers nest, the last outermost. The result takes it off again. */
  wrap(wrapper: (base: LinearForward) => LinearForward): () => void;
  /**
   * Uses another weight, without owning it, in place of the stored one (an untied head, a dequantised weight). The
   * result puts it back.
   */
  replaceWeight(weight: () => Tensor2D): () => void;
}

/**
 * Keys and values that every token of a row may attend to, before the row's own: [rows or 1, kvHeads, prefixLength,
 * headDim].
 */
export interface AttentionPrefix {
  readonly key: Tensor4D;
  readonly value: Tensor4D;
}

/** An attention layer, to which a strategy may add keys and values. */
export interface AttentionSite {
  /** The module path, as `model.layers.0.self_attn`. */
  readonly name: string;
  readonly layer: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  /** Adds a prefix. Prefix keys are not rotated; real tokens start at position prefixLength. */
  setPrefix(prefix: (() => AttentionPrefix) | null): void;
}

/**
 * The table of token embeddings.
 *
 * @public
 */
export interface EmbeddingSite {
  readonly name: string;
  readonly weight: Variable;
  /** Puts virtual tokens [virtualTokens, hidden] before every row: prompt tuning. */
  setPromptEmbeddings(prompt: (() => Tensor2D) | null): void;
  /**
   * Looks the tokens `ids` up in `values` [ids, hidden] instead of in the stored table: embeddings of single tokens
   * that an adapter trains. The head is not touched.
   */
  setRows(rows: { readonly ids: readonly number[]; readonly values: () => Tensor2D } | null): void;
}

/** Keys and values of the tokens that were already read. Owned by whoever made it. */
export interface KeyValueCache {
  readonly length: number;
  /** Frees the keys and values. */
  dispose(): void;
}

/** The tokens of one forward pass, [rows × length] and row-major. */
export interface ForwardInput {
  readonly rows: number;
  readonly length: number;
  /** [rows × length], row-major. */
  readonly ids: Int32Array;
  readonly segmentIds: Int32Array;
  readonly positionIds: Int32Array;
}

/** Which positions of a batch get logits, in row-major order of [rows, length]. */
export type Positions = Int32Array | 'all';

/**
 * logits = hidden · weightᵀ, then softCap · tanh(logits ÷ softCap) if there is a cap.
 *
 * @public
 */
export interface PlainHead {
  readonly weight: Tensor2D;
  readonly softCap: number | null;
}

/**
 * What lies below the first layer that is trained: nothing there changes, so that it is computed without gradient
 * bookkeeping, and what comes out of it may be kept.
 */
export interface FrozenPrefix {
  /** Embeddings and this many layers; `layers` of the model where only what follows its layers is trained. */
  readonly layers: number;
  /**
   * Gives the hidden states [rows × length, hidden] after those layers in place of `compute(input)`: from an earlier
   * pass, where it kept them.
   */
  states?(input: ForwardInput, compute: (input: ForwardInput) => Tensor2D): Tensor2D;
}

/** What of a linear layer is known without its weight. */
export type LinearSiteOutline = Pick<LinearSite, 'name' | 'inFeatures' | 'outFeatures' | 'fanInFanOut' | 'isOutput'>;

/** A model as its configuration describes it, without any weight. Every {@link LanguageModel} is one. */
export interface ModelOutline {
  readonly architecture: string;
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly parameters: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  readonly linearSites: ReadonlyMap<string, LinearSiteOutline>;
  readonly attentionSites: readonly Pick<AttentionSite, 'name' | 'layer' | 'keyValueHeads' | 'headDim'>[];
  readonly embeddingSite: Pick<EmbeddingSite, 'name'>;
}

/** A decoder-only language model over tfjs-core. */
export interface LanguageModel {
  /** `model_type` of config.json. */
  readonly architecture: string;
  /** config.json as read. */
  readonly config: Readonly<Record<string, Json>>;
  readonly vocabularySize: number;
  /** Ids of tokens that the vocabulary was given when the model was loaded: their embeddings are yet to be learned. */
  readonly addedTokens: readonly number[];
  readonly hiddenSize: number;
  readonly layers: number;
  readonly maxLength: number;
  /**
   * Every stored parameter by its Hugging Face name; all are created with `trainable: false`. A tied head has no entry
   * of its own.
   */
  readonly parameters: ReadonlyMap<string, Variable>;
  /** Parameters that were quantised when they were read, by name: a strategy that quantises leaves them as they are. */
  readonly quantised?: ReadonlySet<string>;
  readonly linearSites: ReadonlyMap<string, LinearSite>;
  readonly attentionSites: readonly AttentionSite[];
  readonly embeddingSite: EmbeddingSite;
  /** Folder it was read from, for adapters to name. */
  readonly folder: string | null;

  /**
   * Final hidden states after the last norm, [positions, hidden]; what the chosen positions do not depend on need not
   * be computed. Differentiable; call inside `tf.tidy`.
   */
  hiddenStates(input: ForwardInput, positions: Positions): Tensor2D;
  /** The head, soft cap included: hidden [tokens, hidden] → logits [tokens, vocabulary]. */
  head(hidden: Tensor2D): Tensor2D;
  /**
   * The head as one matrix [vocabulary, hidden] and its soft cap, for a loss that never holds all logits; absent or
   * null where something wraps the head or it is more than a matrix.
   */
  plainHead?(): PlainHead | null;
  /** `head` of the chosen positions of `hiddenStates`: [positions, vocabulary]. */
  logits(input: ForwardInput, positions: Positions): Tensor2D;

  /**
   * Says what below nothing is trained; null: anything may be. Prefixes and virtual tokens, which change every layer,
   * set it aside.
   */
  setFrozenPrefix?(prefix: FrozenPrefix | null): void;

  /** An empty cache for `rows` sequences. */
  createCache(rows: number): KeyValueCache;
  /**
   * Reads `length` further tokens per row and appends them to the cache. Returns logits of each row's last token,
   * [rows, vocabulary].
   */
  decode(input: ForwardInput, cache: KeyValueCache): Tensor2D;

  /** Randomness of layers that need it in training (dropout of adapters); evaluation is the default. */
  training: boolean;
  /** Frees the parameters. */
  dispose(): void;
}

/** The targets of a batch after the shift by one: `positions[i]` predicts token `targets[i]`. */
export interface SupervisedPositions {
  readonly positions: Int32Array;
  readonly targets: Int32Array;
  /** How much each target counts in the loss; absent where each counts 1. */
  readonly weights?: Float32Array;
}

/** Named tensors on their way to or from a safetensors file. */
export type NamedTensors = ReadonlyMap<string, Tensor>;

/** A model with everything that must travel with it. */
export interface LoadedModel {
  readonly model: LanguageModel;
  readonly tokenizer: import('./tokenizer.js').Tokenizer;
  readonly renderer: import('./tokenizer.js').ChatRenderer;
  /**
   * Files of the tokenizer, by name, that differ from those in the model's folder, because tokens were added: they
   * travel with what is trained.
   */
  readonly companionFiles?: Readonly<Record<string, string>>;
}
