import * as tf from '@tensorflow/tfjs-core';
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

/** The parts of a model that the computation asks for by name. */
export interface DecoderParts {
  parameter(name: string): tf.Variable;
  linear(name: string): LinearForward;
  /** What the tokens of a layer may see before their own keys. */
  prefix(layer: number): AttentionPrefix | null;
}

/**
 * Tokens that are wanted of the last layer: their numbers among the tokens of the pass, and where attention has them.
 */
export interface WantedTokens {
  readonly tokens: tf.Tensor1D;
  readonly places: tf.Tensor1D;
}

/**
 * The decoder's layers from `first` up to `end`, not included: hidden states [tokens, hidden] in and out. Tokens of all
 * rows stand flattened in one axis, so that every linear layer is one matrix product; attention alone knows rows. Of
 * the last layer come the wanted tokens alone: of the others nothing but keys and values is computed there.
 */
export function runLayers(
  shape: DecoderShape,
  parts: DecoderParts,
  context: ForwardContext,
  input: tf.Tensor2D,
  cache: DecoderCache | null,
  first = 0,
  end = shape.layers.length,
  wanted: WantedTokens | null = null,
): tf.Tensor2D {
  return shape.layers.slice(first, end).reduce((hidden, layer, index) => {
    const number = first + index;
    const run = (): tf.Tensor2D =>
      runLayer(shape, parts, context, boundary(hidden), layer, number, cache, number === end - 1 ? wanted : null);
    // What a cache takes over stays. Otherwise nothing but what gradients need outlives its layer.
    return cache === null ? tf.tidy(run) : run();
  }, input);
}

/** The norm after the last layer. */
export function normalizeLast(shape: DecoderShape, parts: DecoderParts, hidden: tf.Tensor2D): tf.Tensor2D {
  return normalize(shape, parts, finalNormName(shape), hidden);
}

function runLayer(
  shape: DecoderShape,
  parts: DecoderParts,
  context: ForwardContext,
  hidden: tf.Tensor2D,
  layer: LayerShape,
  index: number,
  cache: DecoderCache | null,
  wanted: WantedTokens | null,
): tf.Tensor2D {
  const names = layerNames(shape, index);
  const attended = attend(
    shape,
    parts,
    context,
    normalize(shape, parts, names.beforeAttention, hidden),
    layer,
    index,
    cache,
    wanted,
  );
  const middle = addResidual(
    wanted === null ? hidden : gatherRows(hidden, wanted.tokens),
    names.afterAttention === null ? attended : normalize(shape, parts, names.afterAttention, attended),
  );
  const fed = feedForward(shape, parts, normalize(shape, parts, names.beforeMlp, middle), index);
  return addResidual(middle, names.afterMlp === null ? fed : normalize(shape, parts, names.afterMlp, fed));
}

/** Self-attention of one layer, [tokens, hidden] → [tokens or wanted tokens, hidden]. */
function attend(
  shape: DecoderShape,
  parts: DecoderParts,
  context: ForwardContext,
  input: tf.Tensor2D,
  layer: LayerShape,
  index: number,
  cache: DecoderCache | null,
  wanted: WantedTokens | null,
): tf.Tensor2D {
  const { heads, keyValueHeads, headDim } = shape;
  const { rows, spread } = context;
  const toPlaces = (x: tf.Tensor2D): tf.Tensor2D => (spread === null ? x : gatherRows(x, spread.tokenOf));
  const names = layerNames(shape, index);
  const [query, key, value] = splitLinear(parts, names.queryKeyValue, input, [
    heads * headDim,
    keyValueHeads * headDim,
    keyValueHeads * headDim,
  ]);
  const tables = context.tables(layer);

  const normedQuery = shape.queryKeyNorm ? normalizeHeads(shape, parts, names.queryNorm, query) : query;
  const normedKey = shape.queryKeyNorm ? normalizeHeads(shape, parts, names.keyNorm, key) : key;
  const headQuery = splitHeads(toPlaces(normedQuery), rows, headDim, {
    groups: heads / keyValueHeads,
    rotation: tables === null ? null : { tables: tables.query, rotated: tables.rotated },
  });
  const placedQuery = tables === null ? tf.mul(headQuery, constant(layer.attentionScale)) : headQuery;
  const placedKey = splitHeads(toPlaces(normedKey), rows, headDim, {
    rotation: tables === null ? null : { tables: tables.key, rotated: tables.rotated },
  });
  const all = withEarlierKeys(parts, index, rows, placedKey, splitHeads(toPlaces(value), rows, headDim), cache);
  const flash = context.flash(layer);
  const attended =
    flash === null
      ? attention(
          placedQuery as tf.Tensor4D,
          all.key,
          all.value,
          context.bias(layer),
          shape.attentionSoftCap,
          context.blocks(layer),
        )
      : flashAttention(placedQuery as tf.Tensor4D, all.key, all.value, flash);
  const back = wanted?.places ?? spread?.placeOf ?? null;
  return parts.linear(names.attentionOutput)(back === null ? attended : gatherRows(attended, back));
}

/** The prefix or the cached keys before the row's own. */
function withEarlierKeys(
  parts: DecoderParts,
  index: number,
  rows: number,
  key: tf.Tensor4D,
  value: tf.Tensor4D,
  cache: DecoderCache | null,
): { readonly key: tf.Tensor4D; readonly value: tf.Tensor4D } {
  // A cache that has read something already holds the prefix.
  const prefix = cache === null || cache.length === 0 ? parts.prefix(index) : null;
  const forRows = (part: tf.Tensor4D): tf.Tensor4D => (part.shape[0] === rows ? part : tf.tile(part, [rows, 1, 1, 1]));
  const joined =
    prefix === null
      ? { key, value }
      : { key: tf.concat([forRows(prefix.key), key], 2), value: tf.concat([forRows(prefix.value), value], 2) };
  return cache === null ? joined : cache.append(index, joined.key, joined.value);
}

/** The feed-forward block of one layer, [tokens, hidden] → [tokens, hidden]. */
function feedForward(shape: DecoderShape, parts: DecoderParts, input: tf.Tensor2D, index: number): tf.Tensor2D {
  const names = layerNames(shape, index);
  const down = parts.linear(names.down);
  const [first] = names.gateUp;
  if (shape.names.gateUp.kind === 'plain' && first !== undefined)
    return down(activate(parts.linear(first)(input), shape.activation));
  const [gate, up] = splitLinear(parts, names.gateUp, input, [shape.intermediateSize, shape.intermediateSize]);
  return down(activateGated(gate, up, shape.activation));
}

/** Several linear layers of one input: one layer each, or one layer for all whose result is cut into `sizes`. */
function splitLinear<const S extends readonly number[]>(
  parts: DecoderParts,
  names: readonly string[],
  input: tf.Tensor2D,
  sizes: S,
): { -readonly [K in keyof S]: tf.Tensor2D } {
  const [only] = names;
  const results =
    names.length === 1 && only !== undefined
      ? tf.split(parts.linear(only)(input), [...sizes], 1)
      : names.map((name) => parts.linear(name)(input));
  return results as { -readonly [K in keyof S]: tf.Tensor2D };
}

function normalizeHeads(shape: DecoderShape, parts: DecoderParts, name: string, x: tf.Tensor2D): tf.Tensor2D {
  return tf.reshape(normalize(shape, parts, name, tf.reshape(x, [-1, shape.headDim])), x.shape);
}

/** The norm called `name`, over the last axis. */
function normalize(shape: DecoderShape, parts: DecoderParts, name: string, x: tf.Tensor2D): tf.Tensor2D {
  const { kind, epsilon, weightOffset } = shape.norm;
  const stored = parts.parameter(`${name}.weight`);
  if (kind === 'layer') return tf.add(tf.mul(layerNormalize(x, epsilon), stored), parts.parameter(`${name}.bias`));
  return rmsNormalize(x, epsilon, weightOffset === 0 ? stored : tf.add(stored, constant(weightOffset)));
}
