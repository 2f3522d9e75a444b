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
} from '@whetstone/core/ops';
import { boundary, flashAttention } from '@whetstone/core/ops/internal';
import type { ForwardContext } from './context.js';
import type { DecoderCache } from './key-value-cache.js';
import { finalNormName, layerNames } from './parameters.js';
import type { DecoderShape, LayerShape } from './shape.js';

/**
 * The computation of a decoder-only transformer, for every architecture in `specs/`.
 *
 * ```text
 *   token ids
 *       │ embedding (language-model.ts), × embeddingScale
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
 *   head (language-model.ts) → logits [outputs, vocab]
 * ```
 *
 * Sizes in the comments: `tokens` are the tokens of all rows in one axis, so that every linear layer is one matmul.
 * Only attention knows rows: it reads the tokens as a grid [rows × length]. `outputs` are the positions whose hidden
 * states the caller needs.
 */

/** The weights and layers of a model, by name. */
export interface DecoderModules {
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

/**
 * Computes the layers from `first` to `end` (exclusive): hidden states [tokens, hidden] → [tokens, hidden]. With
 * `outputPositions`, layer `end - 1` returns these positions only, [outputs, hidden]. It still computes the keys and
 * values of all tokens.
 */
export function runLayers(
  shape: DecoderShape,
  modules: DecoderModules,
  context: ForwardContext,
  input: Tensor2D,
  cache: DecoderCache | null,
  first = 0,
  end = shape.layers.length,
  outputPositions: OutputPositions | null = null,
): Tensor2D {
  return shape.layers.slice(first, end).reduce((hidden, layer, offset) => {
    const index = first + offset;
    const outputs = index === end - 1 ? outputPositions : null;
    const run = (): Tensor2D => runLayer(shape, modules, context, boundary(hidden), layer, index, cache, outputs);
    // tidy would dispose the keys and values that a cache stores. Without a cache, only what gradients need survives.
    return cache === null ? tidy(run) : run();
  }, input);
}

/** Applies the norm after the last layer, [outputs, hidden] → [outputs, hidden]. */
export function normalizeLast(shape: DecoderShape, modules: DecoderModules, hidden: Tensor2D): Tensor2D {
  return normalize(shape, modules, finalNormName(shape), hidden);
}

/** Computes one layer, [tokens, hidden] → [tokens or outputs, hidden]. */
function runLayer(
  shape: DecoderShape,
  modules: DecoderModules,
  context: ForwardContext,
  hidden: Tensor2D,
  layer: LayerShape,
  index: number,
  cache: DecoderCache | null,
  outputPositions: OutputPositions | null,
): Tensor2D {
  const names = layerNames(shape, index);
  const normed = normalize(shape, modules, names.beforeAttention, hidden); // [tokens, hidden]
  const attended = attend(shape, modules, context, normed, layer, index, cache, outputPositions); // [outputs, hidden]
  const middle = addResidual(
    outputPositions === null ? hidden : gatherRows(hidden, outputPositions.tokens),
    names.afterAttention === null ? attended : normalize(shape, modules, names.afterAttention, attended),
  ); // [outputs, hidden]
  const normedMiddle = normalize(shape, modules, names.beforeMlp, middle); // [outputs, hidden]
  const fed = feedForward(shape, modules, normedMiddle, index); // [outputs, hidden]
  return addResidual(middle, names.afterMlp === null ? fed : normalize(shape, modules, names.afterMlp, fed));
}

/** Computes self-attention of one layer, [tokens, hidden] → [tokens or outputs, hidden]. */
function attend(
  shape: DecoderShape,
  modules: DecoderModules,
  context: ForwardContext,
  input: Tensor2D,
  layer: LayerShape,
  index: number,
  cache: DecoderCache | null,
  outputPositions: OutputPositions | null,
): Tensor2D {
  const { heads, keyValueHeads, headDim } = shape;
  const { rows, cellMap } = context;
  /** [tokens, features] → [rows × length, features] */
  const toCells = (x: Tensor2D): Tensor2D => (cellMap === null ? x : gatherRows(x, cellMap.tokenOf));
  const names = layerNames(shape, index);
  const [query, key, value] = splitLinear(modules, names.queryKeyValue, input, [
    heads * headDim, // query [tokens, heads × headDim]
    keyValueHeads * headDim, // key [tokens, kvHeads × headDim]
    keyValueHeads * headDim, // value [tokens, kvHeads × headDim]
  ]);
  const tables = context.tables(layer);

  const normedQuery = shape.queryKeyNorm ? normalizeHeads(shape, modules, names.queryNorm, query) : query;
  const normedKey = shape.queryKeyNorm ? normalizeHeads(shape, modules, names.keyNorm, key) : key;
  const headQuery = splitHeads(toCells(normedQuery), rows, headDim, {
    groups: heads / keyValueHeads,
    rotation: tables === null ? null : { tables: tables.query, rotated: tables.rotated },
  }); // [rows, heads, length, headDim]
  // The rotary tables of the query already contain the attention scale.
  const scaledQuery = tables === null ? mul(headQuery, constant(layer.attentionScale)) : headQuery;
  const headKey = splitHeads(toCells(normedKey), rows, headDim, {
    rotation: tables === null ? null : { tables: tables.key, rotated: tables.rotated },
  }); // [rows, kvHeads, length, headDim]
  const headValue = splitHeads(toCells(value), rows, headDim); // [rows, kvHeads, length, headDim]
  const all = withEarlierKeys(modules, index, rows, headKey, headValue, cache); // [rows, kvHeads, keys, headDim]
  const flash = context.flash(layer);
  const attended =
    flash === null
      ? attention(
          scaledQuery as Tensor4D,
          all.key,
          all.value,
          context.bias(layer),
          shape.attentionSoftCap,
          context.blocks(layer),
        )
      : flashAttention(scaledQuery as Tensor4D, all.key, all.value, flash); // [rows × length, heads × headDim]
  const cells = outputPositions?.cells ?? cellMap?.cellOf ?? null;
  return modules.linear(names.attentionOutput)(cells === null ? attended : gatherRows(attended, cells));
}

/**
 * Prepends the prefix or the cached keys and values: [rows, kvHeads, length, headDim] → [rows, kvHeads, keys, headDim].
 */
function withEarlierKeys(
  modules: DecoderModules,
  index: number,
  rows: number,
  key: Tensor4D,
  value: Tensor4D,
  cache: DecoderCache | null,
): { readonly key: Tensor4D; readonly value: Tensor4D } {
  // A cache that is not empty already contains the prefix.
  const prefix = cache === null || cache.length === 0 ? modules.prefix(index) : null;
  const forRows = (x: Tensor4D): Tensor4D => (x.shape[0] === rows ? x : tile(x, [rows, 1, 1, 1]));
  const joined =
    prefix === null
      ? { key, value }
      : { key: concat([forRows(prefix.key), key], 2), value: concat([forRows(prefix.value), value], 2) };
  return cache === null ? joined : cache.append(index, joined.key, joined.value);
}

/** Computes the feed-forward block of one layer, [tokens, hidden] → [tokens, hidden]. */
function feedForward(shape: DecoderShape, modules: DecoderModules, input: Tensor2D, index: number): Tensor2D {
  const names = layerNames(shape, index);
  const down = modules.linear(names.down); // [tokens, intermediate] → [tokens, hidden]
  const [first] = names.gateUp;
  if (shape.names.gateUp.kind === 'plain' && first !== undefined)
    return down(activate(modules.linear(first)(input), shape.activation));
  const sizes = [shape.intermediateSize, shape.intermediateSize] as const;
  const [gate, up] = splitLinear(modules, names.gateUp, input, sizes); // [tokens, intermediate] each
  return down(activateGated(gate, up, shape.activation));
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
function normalizeHeads(shape: DecoderShape, modules: DecoderModules, name: string, x: Tensor2D): Tensor2D {
  return reshape(normalize(shape, modules, name, reshape(x, [-1, shape.headDim])), x.shape);
}

/** Applies the norm called `name` over the last axis, [tokens, features] → [tokens, features]. */
function normalize(shape: DecoderShape, modules: DecoderModules, name: string, x: Tensor2D): Tensor2D {
  const { kind, epsilon, weightOffset } = shape.norm;
  const stored = modules.parameter(`${name}.weight`); // [features]
  if (kind === 'layer') return add(mul(layerNormalize(x, epsilon), stored), modules.parameter(`${name}.bias`));
  return rmsNormalize(x, epsilon, weightOffset === 0 ? stored : add(stored, constant(weightOffset)));
}
