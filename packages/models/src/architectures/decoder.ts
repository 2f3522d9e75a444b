import {
  add,
  concat,
  mul,
  reshape,
  split,
  tidy,
  tile,
  type Tensor1D,
  type Tensor2D,
  type Tensor4D,
  type Variable,
} from '@tensorflow/tfjs-core';
import type { AttentionPrefix, LinearForward } from '@whetstone/core/contract';
import {
  activate,
  activateGated,
  addResidual,
  attention,
  constant,
  gatherRows,
  layerNormalize,
  rmsNormalize,
  splitHeads,
  type Rotation,
} from '@whetstone/core/ops';
import { boundary, flashAttention } from '@whetstone/core/ops/internal';
import type { ForwardContext } from './context.js';
import type { KeyStore } from './key-value-cache.js';
import { finalNormName, layerNames, type LayerNames } from './parameters.js';
import type { DecoderShape, LayerShape } from './shape.js';

/**
 * The computation of a decoder-only transformer, for every architecture in `specs/`.
 *
 * ```text
 *   token ids [tokens]
 *       │ embedding, × embeddingScale (embedding.ts)
 *       ▼
 *   hidden [tokens, hidden] ────────────┐
 *       │ beforeAttention norm          │
 *       │ query, key, value             │
 *       │ query and key norms, rotation │   one layer (runLayer),
 *       │ softmax(query · keyᵀ) · value │   shape.layers.length times
 *       │ attentionOutput               │
 *       │ afterAttention norm (Gemma)   │
 *       ▼                               │
 *       + ◄─────────────────────────────┘
 *       ├───────────────────────────────┐
 *       │ beforeMlp norm                │
 *       │ activation(gate) × up         │
 *       │ down                          │
 *       │ afterMlp norm (Gemma)         │
 *       ▼                               │
 *       + ◄─────────────────────────────┘
 *       │
 *       │ final norm (normalizeLast)
 *       ▼
 *   outputs [outputs, hidden] → head (language-model.ts) → logits [outputs, vocab]
 * ```
 *
 * Sizes in the comments: `tokens` are the tokens of all rows in one axis, so that every linear layer is one matmul.
 * Only attention knows rows: it reads the tokens as a grid [rows × length]. `outputs` are the positions whose hidden
 * states the caller needs; layers before the last one, and passes without such a choice, return all tokens.
 */

/** The weights and layers of a model, by name. */
interface DecoderModules {
  parameter(name: string): Variable;
  linear(name: string): LinearForward;
  /** The keys and values that a strategy puts before those of the tokens of a layer. */
  prefix(layer: number): AttentionPrefix | null;
}

/** The positions whose hidden states are needed after the last layer, as indices of tokens and of grid cells. */
export interface OutputPositions {
  /** Index of each position among the tokens of the pass, [outputs]. */
  readonly tokens: Tensor1D;
  /** Index of each position in the token grid, [outputs]. */
  readonly cells: Tensor1D;
}

/** What the layers of one forward pass compute with. */
export interface DecoderPass {
  readonly shape: DecoderShape;
  readonly modules: DecoderModules;
  readonly context: ForwardContext;
  /** Stores the keys and values of the pass after those of earlier passes; null stores nothing. */
  readonly store: KeyStore | null;
}

/** The layers to compute; all of them by default. */
export interface LayerRange {
  readonly first?: number;
  /** Exclusive. */
  readonly end?: number;
  /** The positions that the last of these layers returns; null for all. It still computes all keys and values. */
  readonly outputs?: OutputPositions | null;
}

/** One layer within a pass. */
interface LayerPass extends DecoderPass {
  readonly layer: LayerShape;
  readonly index: number;
  readonly names: LayerNames;
  readonly outputs: OutputPositions | null;
}

/** Computes a range of layers, [tokens, hidden] → [outputs, hidden]. */
export function runLayers(
  pass: DecoderPass,
  input: Tensor2D,
  { first = 0, end = pass.shape.layers.length, outputs = null }: LayerRange = {},
): Tensor2D {
  return pass.shape.layers.slice(first, end).reduce((hidden, layer, offset) => {
    const index = first + offset;
    const names = layerNames(pass.shape, index);
    const layerPass = { ...pass, layer, index, names, outputs: index === end - 1 ? outputs : null };
    const run = (): Tensor2D => runLayer(layerPass, boundary(hidden));
    // tidy would dispose the keys and values that a cache stores. Without a cache, only what gradients need survives.
    return pass.store === null ? tidy(run) : run();
  }, input);
}

/** Applies the norm after the last layer, [outputs, hidden] → [outputs, hidden]. */
export function normalizeLast(pass: DecoderPass, hidden: Tensor2D): Tensor2D {
  return normalize(pass, finalNormName(pass.shape), hidden);
}

/** Computes one layer, [tokens, hidden] → [outputs, hidden]. */
function runLayer(pass: LayerPass, input: Tensor2D): Tensor2D {
  const { names, outputs } = pass;
  const normed = normalize(pass, names.beforeAttention, input); // [tokens, hidden]
  const attended = attend(pass, normed); // [outputs, hidden]
  const residual = outputs === null ? input : gatherRows(input, outputs.tokens); // [outputs, hidden]
  const middle = addResidual(residual, normalizeIf(pass, names.afterAttention, attended)); // [outputs, hidden]
  const normedMiddle = normalize(pass, names.beforeMlp, middle); // [outputs, hidden]
  const fed = feedForward(pass, normedMiddle); // [outputs, hidden]
  return addResidual(middle, normalizeIf(pass, names.afterMlp, fed)); // [outputs, hidden]
}

/** Computes self-attention, [tokens, hidden] → [outputs, hidden]. */
function attend(pass: LayerPass, input: Tensor2D): Tensor2D {
  const { shape, modules, context, layer, names, outputs } = pass;
  const { heads, keyValueHeads, headDim } = shape;
  const { rows, cellMap } = context;
  const tables = context.tables(layer);
  const rotation = (of: 'query' | 'key'): Rotation | null =>
    tables === null ? null : { tables: tables[of], rotated: tables.rotated };

  const [query, key, value] = splitLinear(modules, names.queryKeyValue, input, [
    heads * headDim, // query [tokens, heads × headDim]
    keyValueHeads * headDim, // key [tokens, kvHeads × headDim]
    keyValueHeads * headDim, // value [tokens, kvHeads × headDim]
  ]);
  // [tokens, heads × headDim] and [tokens, kvHeads × headDim]
  const normedQuery = shape.queryKeyNorm ? normalizeHeads(pass, names.queryNorm, query) : query;
  const normedKey = shape.queryKeyNorm ? normalizeHeads(pass, names.keyNorm, key) : key;

  /** [tokens, features] → [rows × length, features] */
  const toCells = (x: Tensor2D): Tensor2D => (cellMap === null ? x : gatherRows(x, cellMap.tokenOf));
  const headQuery = splitHeads(toCells(normedQuery), rows, headDim, {
    groups: heads / keyValueHeads,
    rotation: rotation('query'),
  }); // [rows, heads, length, headDim]
  // The rotary tables of the query already contain the attention scale.
  const scaledQuery: Tensor4D = tables === null ? mul(headQuery, constant(layer.attentionScale)) : headQuery;
  const headKey = splitHeads(toCells(normedKey), rows, headDim, {
    rotation: rotation('key'),
  }); // [rows, kvHeads, length, headDim]
  const headValue = splitHeads(toCells(value), rows, headDim); // [rows, kvHeads, length, headDim]
  const all = withEarlierKeys(pass, headKey, headValue); // [rows, kvHeads, keys, headDim] each

  const flash = context.flash(layer);
  const attended =
    flash === null
      ? attention(scaledQuery, all.key, all.value, context.bias(layer), shape.attentionSoftCap, context.blocks(layer))
      : flashAttention(scaledQuery, all.key, all.value, flash); // [rows × length, heads × headDim]
  const cells = outputs?.cells ?? cellMap?.cellOf ?? null;
  const chosen = cells === null ? attended : gatherRows(attended, cells); // [outputs, heads × headDim]
  return modules.linear(names.attentionOutput)(chosen); // [outputs, hidden]
}

/**
 * Prepends the prefix, or the keys and values of earlier passes, which include the prefix: [rows, kvHeads, length,
 * headDim] → [rows, kvHeads, keys, headDim].
 */
function withEarlierKeys(
  { modules, context: { rows }, store, index }: LayerPass,
  key: Tensor4D,
  value: Tensor4D,
): { readonly key: Tensor4D; readonly value: Tensor4D } {
  if (store !== null) return store.append(index, key, value);
  const prefix = modules.prefix(index);
  if (prefix === null) return { key, value };
  /** [rows or 1, kvHeads, prefixLength, headDim] → [rows, kvHeads, prefixLength, headDim] */
  const forRows = (x: Tensor4D): Tensor4D => (x.shape[0] === rows ? x : tile(x, [rows, 1, 1, 1]));
  return { key: concat([forRows(prefix.key), key], 2), value: concat([forRows(prefix.value), value], 2) };
}

/** Computes the feed-forward block, [tokens, hidden] → [tokens, hidden]. */
function feedForward({ shape, modules, names }: LayerPass, input: Tensor2D): Tensor2D {
  const down = modules.linear(names.down); // [tokens, intermediate] → [tokens, hidden]
  const [first] = names.gateUp;
  if (shape.names.gateUp.kind === 'plain' && first !== undefined) {
    const up = modules.linear(first)(input); // [tokens, intermediate]
    return down(activate(up, shape.activation)); // [tokens, hidden]
  }
  const sizes = [shape.intermediateSize, shape.intermediateSize] as const;
  const [gate, up] = splitLinear(modules, names.gateUp, input, sizes); // [tokens, intermediate] each
  return down(activateGated(gate, up, shape.activation)); // [tokens, hidden]
}

/**
 * Applies one linear layer per size, or one stacked layer whose output is split: [tokens, in] → [tokens, size] each.
 */
function splitLinear<const S extends readonly number[]>(
  modules: DecoderModules,
  names: readonly string[],
  input: Tensor2D,
  sizes: S,
): { -readonly [K in keyof S]: Tensor2D } {
  const [stacked] = names;
  const results =
    names.length === 1 && stacked !== undefined
      ? split(modules.linear(stacked)(input), [...sizes], 1)
      : names.map((name) => modules.linear(name)(input));
  return results as { -readonly [K in keyof S]: Tensor2D };
}

/** Normalizes each head by itself, [tokens, heads × headDim] → [tokens, heads × headDim]. */
function normalizeHeads(pass: DecoderPass, name: string, x: Tensor2D): Tensor2D {
  const byHead: Tensor2D = reshape(x, [-1, pass.shape.headDim]); // [tokens × heads, headDim]
  return reshape(normalize(pass, name, byHead), x.shape); // [tokens, heads × headDim]
}

/** Applies a norm that only some architectures have, [tokens, features] → [tokens, features]. */
function normalizeIf(pass: DecoderPass, name: string | null, x: Tensor2D): Tensor2D {
  return name === null ? x : normalize(pass, name, x);
}

/** Applies the norm called `name` over the last axis, [tokens, features] → [tokens, features]. */
function normalize({ shape, modules }: DecoderPass, name: string, x: Tensor2D): Tensor2D {
  const { kind, epsilon, weightOffset } = shape.norm;
  const stored = modules.parameter(`${name}.weight`); // [features]
  if (kind === 'layer') return add(mul(layerNormalize(x, epsilon), stored), modules.parameter(`${name}.bias`));
  return rmsNormalize(x, epsilon, weightOffset === 0 ? stored : add(stored, constant(weightOffset)));
}
