import type { Tensor, Tensor2D, Tensor4D, Variable } from '@tensorflow/tfjs-core';
import type { Json } from './json.js';

/** The forward pass of a linear layer: `[tokens, inFeatures]` → `[tokens, outFeatures]`. Differentiable. */
export interface LinearForward {
  (input: Tensor2D): Tensor2D;
  /**
   * Returns the current weight and bias, if the layer computes `input · weightᵀ + bias` and nothing else. A wrapper can
   * use them to compute the layer and its own addition in one operation. Absent for layers that compute more.
   */
  readonly plain?: () => PlainLinear;
}

/** The weight and bias of a linear layer that computes `input · weightᵀ + bias` and nothing else. */
export interface PlainLinear {
  /** `[outFeatures, inFeatures]`, or `[inFeatures, outFeatures]` if `fanInFanOut`. */
  readonly weight: Tensor2D;
  /** True if the weight is stored as `[inFeatures, outFeatures]`. */
  readonly fanInFanOut: boolean;
  /** `[outFeatures]`, or null for a layer without bias. */
  readonly bias: Tensor | null;
}

/**
 * A linear layer of a model that strategies can wrap. Strategies work with sites only, so that they support every
 * architecture.
 */
export interface LinearSite {
  /** The module path, for example `model.layers.0.self_attn.q_proj` or `transformer.h.0.attn.c_attn`. */
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** True if the weight is stored as `[inFeatures, outFeatures]`, as in GPT-2's Conv1D. */
  readonly fanInFanOut: boolean;
  /** The stored weight: `[outFeatures, inFeatures]`, or `[inFeatures, outFeatures]` if `fanInFanOut`. */
  readonly weight: Variable;
  /** `[outFeatures]`, or null for a layer without bias. */
  readonly bias: Variable | null;
  /** True for the output layer (`lm_head`), which PEFT's `all-linear` excludes. */
  readonly isOutput: boolean;
  /**
   * Wraps the layer's forward pass. Wrappers nest; the last one is outermost. Returns a function that removes the
   * wrapper.
   */
  wrap(wrapper: (base: LinearForward) => LinearForward): () => void;
  /**
   * Makes the layer compute with the result of `weight` instead of the stored weight, for example an untied head or a
   * dequantised weight. The caller owns that tensor. Returns a function that restores the stored weight.
   */
  replaceWeight(weight: () => Tensor2D): () => void;
}

/**
 * Keys and values that precede those of the tokens of a row; every token of the row attends to them. Both have the
 * shape `[rows or 1, keyValueHeads, prefixLength, headDim]`.
 */
export interface AttentionPrefix {
  readonly key: Tensor4D;
  readonly value: Tensor4D;
}

/** An attention layer of a model, to which strategies can add keys and values. */
export interface AttentionSite {
  /** The module path, for example `model.layers.0.self_attn`. */
  readonly name: string;
  /** The index of the layer, counted from 0. */
  readonly layer: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  /**
   * Sets the prefix of keys and values, or removes it (null). Prefix keys are not rotated; the positions of the tokens
   * start at `prefixLength`.
   */
  setPrefix(prefix: (() => AttentionPrefix) | null): void;
}

/**
 * The token embedding of a model, to which strategies can add virtual tokens.
 *
 * @public
 */
export interface EmbeddingSite {
  /** The name of the embedding's parameter. */
  readonly name: string;
  /** `[vocabulary, hidden]`. */
  readonly weight: Variable;
  /** Sets the embeddings of virtual tokens, `[virtualTokens, hidden]`, that precede every row; null removes them. */
  setPromptEmbeddings(prompt: (() => Tensor2D) | null): void;
  /**
   * Replaces the embeddings of the tokens `ids` by the rows of `values`, `[ids.length, hidden]`; null restores the
   * stored ones. Used by adapters that train the embeddings of single tokens. A tied head is not affected.
   */
  setRows(rows: { readonly ids: readonly number[]; readonly values: () => Tensor2D } | null): void;
}

/**
 * The keys and values of tokens that the model has already read. Each slot holds one sequence; slots differ in length.
 * The caller of `createCache` owns it.
 */
export interface KeyValueCache {
  /** The number of tokens in each slot. */
  readonly lengths: readonly number[];
  /** The bytes of the keys and values of one token. */
  readonly bytesPerToken: number;
  /** Forgets the tokens of a slot from the position `length` on. */
  truncate(slot: number, length: number): void;
  /** Replaces all slots by copies of the slots `sources`, in this order. A slot may be copied several times. */
  select(sources: readonly number[]): void;
  /** Disposes the keys and values. */
  dispose(): void;
}

/** The next tokens of one slot of a cache. */
export interface DecodeRow {
  readonly slot: number;
  /** Without ids the row is computed, but the slot does not change. */
  readonly ids: readonly number[];
  /**
   * The number of tokens of the sequence, including those that are read later. Rotary frequencies that depend on the
   * length use it. By default, the tokens read so far.
   */
  readonly sequenceLength?: number;
}

/** The tokens of one forward pass. All arrays have `rows × length` elements in row-major order; see `Batch`. */
export interface ForwardInput {
  readonly rows: number;
  readonly length: number;
  readonly ids: Int32Array;
  readonly segmentIds: Int32Array;
  readonly positionIds: Int32Array;
}

/** Selects positions of a batch: indices into the row-major `[rows × length]`, or all of them. */
export type Positions = Int32Array | 'all';

/**
 * A head that is one matrix: `logits = hidden · weightᵀ`, then `softCap · tanh(logits ÷ softCap)` if there is a soft
 * cap.
 *
 * @public
 */
export interface PlainHead {
  /** `[vocabulary, hidden]`. */
  readonly weight: Tensor2D;
  readonly softCap: number | null;
}

/**
 * The layers below the first layer that is trained. Their parameters do not change, so that they are computed without
 * recording gradients, and their outputs can be cached.
 */
export interface FrozenPrefix {
  /** The number of frozen layers after the embedding; all layers if only the final norm or the head is trained. */
  readonly layers: number;
  /**
   * Returns the hidden states after the frozen layers, `[rows × length, hidden]`: those of an earlier pass, or
   * `compute(input)`. Without this method they are computed at every pass.
   */
  states?(input: ForwardInput, compute: (input: ForwardInput) => Tensor2D): Tensor2D;
}

/** The properties of a linear layer that are known without its weight. */
export type LinearSiteOutline = Pick<LinearSite, 'name' | 'inFeatures' | 'outFeatures' | 'fanInFanOut' | 'isOutput'>;

/** The structure of a model, as its `config.json` describes it, without weights. Every {@link LanguageModel} is one. */
export interface ModelOutline {
  /** `model_type` of `config.json`. */
  readonly architecture: string;
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  /** The number of layers. */
  readonly layers: number;
  /** The maximum number of tokens in a sequence; absent if it is unknown. */
  readonly maxLength?: number;
  /** The shapes of the stored parameters, by Hugging Face name. */
  readonly parameters: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  readonly linearSites: ReadonlyMap<string, LinearSiteOutline>;
  readonly attentionSites: readonly Pick<AttentionSite, 'name' | 'layer' | 'keyValueHeads' | 'headDim'>[];
  readonly embeddingSite: Pick<EmbeddingSite, 'name'>;
}

/** A decoder-only language model that computes with tfjs-core. */
export interface LanguageModel {
  /** `model_type` of `config.json`. */
  readonly architecture: string;
  /** The contents of `config.json`. */
  readonly config: Readonly<Record<string, Json>>;
  readonly vocabularySize: number;
  /** The ids of the tokens that were added when the model was loaded. Their embeddings are not trained yet. */
  readonly addedTokens: readonly number[];
  readonly hiddenSize: number;
  /** The number of layers. */
  readonly layers: number;
  /** The maximum number of tokens in a sequence. */
  readonly maxLength: number;
  /**
   * The stored parameters, by Hugging Face name. All are created with `trainable: false`. A tied head has no entry of
   * its own.
   */
  readonly parameters: ReadonlyMap<string, Variable>;
  /** The names of the parameters that were quantised when they were read. Strategies do not quantise them again. */
  readonly quantised?: ReadonlySet<string>;
  /** The linear layers, by module path. */
  readonly linearSites: ReadonlyMap<string, LinearSite>;
  /** The attention layers, from the first to the last. */
  readonly attentionSites: readonly AttentionSite[];
  readonly embeddingSite: EmbeddingSite;
  /** The folder that the model was read from, for the configuration of adapters; null for a model made in memory. */
  readonly folder: string | null;

  /**
   * Returns the hidden states after the final norm, `[positions, hidden]`. An implementation may skip computations that
   * the selected positions do not depend on. Differentiable; call inside `tf.tidy`.
   */
  hiddenStates(input: ForwardInput, positions: Positions): Tensor2D;
  /** Applies the head, including its soft cap: `[tokens, hidden]` → `[tokens, vocabulary]`. Differentiable. */
  head(hidden: Tensor2D): Tensor2D;
  /**
   * Returns the head as one matrix with its soft cap, for a loss that is computed in chunks of logits. Absent or null
   * if the head is wrapped or is more than one matrix.
   */
  plainHead?(): PlainHead | null;
  /** Returns the logits of the selected positions, `[positions, vocabulary]`. Differentiable; call inside `tf.tidy`. */
  logits(input: ForwardInput, positions: Positions): Tensor2D;

  /**
   * Declares the layers below which nothing is trained; null: any layer may be trained. Ignored while a prefix or
   * virtual tokens are set, because they change every layer.
   */
  setFrozenPrefix?(prefix: FrozenPrefix | null): void;

  /** Creates a cache with `slots` empty slots. It contains the prefix and the virtual tokens of strategies. */
  createCache(slots: number): KeyValueCache;
  /** Appends tokens to slots of a cache. Each slot occurs at most once. */
  read(rows: readonly DecodeRow[], cache: KeyValueCache): void;
  /** Does what `read` does and returns the logits of the last token of each row, `[rows, vocabulary]`. */
  decode(rows: readonly DecodeRow[], cache: KeyValueCache): Tensor2D;

  /** Whether layers that behave differently in training, such as an adapter's dropout, do so. False by default. */
  training: boolean;
  /** Disposes the parameters. */
  dispose(): void;
}

/** The target tokens of a batch after the shift by one: the position `positions[i]` predicts the token `targets[i]`. */
export interface SupervisedPositions {
  /** Indices into the row-major `[rows × length]`, ascending. */
  readonly positions: Int32Array;
  /** Token ids, one for each position. */
  readonly targets: Int32Array;
  /** The weight of each target in the loss; absent if every target has weight 1. */
  readonly weights?: Float32Array;
}

/** Tensors by name, as in a safetensors file. */
export type NamedTensors = ReadonlyMap<string, Tensor>;

/** A model with its tokenizer and its chat renderer. */
export interface LoadedModel {
  readonly model: LanguageModel;
  readonly tokenizer: import('./tokenizer.js').Tokenizer;
  readonly renderer: import('./tokenizer.js').ChatRenderer;
  /**
   * The contents of tokenizer files that differ from those in the model's folder because tokens were added, by file
   * name. They are written next to every saved model or adapter.
   */
  readonly companionFiles?: Readonly<Record<string, string>>;
  /** Warnings about what was read differently from how the files of the model are written. */
  readonly notices?: readonly string[];
}
