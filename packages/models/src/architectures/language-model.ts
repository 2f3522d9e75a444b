import * as tf from '@tensorflow/tfjs-core';
import {
  WhetstoneError, type AttentionPrefix, type AttentionSite, type ForwardInput, type FrozenPrefix, type Json, type KeyValueCache, type LanguageModel, type Positions,
} from '@whetstone/core/contract';
import { constant, gatherRows, outsideOfTape } from '@whetstone/core/ops';
import { createContext, joinKeys, placesOf, prefixKeys, type Places } from './context.js';
import { normalizeLast, runLayers, type DecoderParts } from './decoder.js';
import { createKeyValueCache, type DecoderCache } from './key-value-cache.js';
import { createLinearSite, type ComputedLinearSite } from './linear-site.js';
import { HEAD_NAME, embeddingName, layerNames, linearShapes, positionsName } from './parameters.js';
import type { DecoderShape } from './shape.js';

export interface LanguageModelParts {
  readonly shape: DecoderShape;
  /** config.json as read. */
  readonly config: Readonly<Record<string, Json>>;
  /** By name; the model owns and disposes them. */
  readonly parameters: ReadonlyMap<string, tf.Variable>;
  readonly folder: string | null;
  /** Parameters that were quantised when they were read. */
  readonly quantised?: ReadonlySet<string>;
  /** Ids of tokens that the vocabulary was given after the model was trained. */
  readonly addedTokens?: readonly number[];
}

/** A {@link LanguageModel} over variables that are already there. */
export function createLanguageModel({ shape, config, parameters, folder, quantised = new Set(), addedTokens = [] }: LanguageModelParts): LanguageModel {
  const parameter = (name: string): tf.Variable => {
    const variable = parameters.get(name);
    if (variable === undefined) throw new WhetstoneError('MODEL_TENSOR_MISSING', 'The model has no such parameter.', { place: { tensor: name } });
    return variable;
  };
  const embedding = parameter(`${embeddingName(shape)}.weight`);
  const positionTable = positionsName(shape);
  const linearSites = new Map<string, ComputedLinearSite>(linearShapes(shape).map((linear) => {
    const weight = linear.isOutput && shape.tiedHead ? embedding : parameter(`${linear.name}.weight`);
    const bias = linear.bias ? parameter(`${linear.name}.bias`) : null;
    return [linear.name, createLinearSite(linear, weight, bias, shape.fanInFanOut && !linear.isOutput)];
  }));
  const linear = (name: string): ComputedLinearSite['forward'] => {
    const site = linearSites.get(name);
    if (site === undefined) throw new Error(`There is no linear layer ${name}.`);
    return site.forward;
  };

  const prefixes = new Map<number, () => AttentionPrefix>();
  const attentionSites = shape.layers.map((_, layer): AttentionSite => ({
    name: layerNames(shape, layer).attention,
    layer,
    keyValueHeads: shape.keyValueHeads,
    headDim: shape.headDim,
    setPrefix(prefix) {
      if (prefix === null) prefixes.delete(layer);
      else prefixes.set(layer, prefix);
    },
  }));
  let promptEmbeddings: (() => tf.Tensor2D) | null = null;
  let frozenPrefix: FrozenPrefix | null = null;
  let ownRows: { readonly places: ReadonlyMap<number, number>; readonly values: () => tf.Tensor2D } | null = null;

  /** One forward pass over the input and, with a cache, all that was read before: hidden states [rows × length, hidden] of the input's own tokens. */
  const run = (input: ForwardInput, cache: DecoderCache | null): tf.Tensor2D => {
    checkInput(shape, input);
    const first = cache === null || cache.length === 0;
    const given = new Map([...prefixes].map(([layer, prefix]) => [layer, prefix()]));
    const prefixLength = prefixLengthOf(shape, given);
    const prompt = first ? (promptEmbeddings?.() ?? null) : null;
    const virtual = prompt?.shape[0] ?? 0;
    const behind = first ? prefixLength : prefixLength + (promptEmbeddings?.().shape[0] ?? 0);
    const places = placesOf(input, virtual, behind);
    checkPositions(shape, places.positionIds);
    const before = cache === null || cache.length === 0 ? prefixKeys(input.rows, prefixLength) : cache.places;
    const joined = joinKeys(input.rows, before, places);
    const keys = cache === null ? joined : cache.withRoom(joined);
    const parts: DecoderParts = { parameter, linear, prefix: (layer) => given.get(layer) ?? null };
    const context = createContext(shape, places, keys);
    const frozen = cache === null && prompt === null && prefixLength === 0 ? frozenPrefix : null;
    const below = frozen === null ? embed(input, places, prompt) : frozenStates(frozen, parts, input);
    const hidden = normalizeLast(shape, parts, runLayers(shape, parts, context, below, cache, frozen?.layers ?? 0));
    cache?.advance(input.length, keys);
    return virtual === 0 ? hidden : withoutVirtual(hidden, places, virtual);
  };

  /** What comes out of the layers that nothing trains: outside of the tape, and from an earlier pass where it was kept. */
  const frozenStates = ({ layers, states }: FrozenPrefix, parts: DecoderParts, input: ForwardInput): tf.Tensor2D => {
    const compute = (rows: ForwardInput): tf.Tensor2D => {
      const places = placesOf(rows, 0, 0);
      const keys = joinKeys(rows.rows, prefixKeys(rows.rows, 0), places);
      return runLayers(shape, parts, createContext(shape, places, keys), embed(rows, places, null), null, 0, layers);
    };
    return outsideOfTape(() => (states === undefined ? compute(input) : states(input, compute)));
  };

  const embed = (input: ForwardInput, places: Places, prompt: tf.Tensor2D | null): tf.Tensor2D => {
    const looked = lookUp(input.ids);
    const scaled = shape.embeddingScale === 1 ? looked : (tf.mul(looked, constant(shape.embeddingScale)) as tf.Tensor2D);
    const whole = prompt === null ? scaled : withPrompt(scaled, input, prompt);
    if (positionTable === null) return whole;
    return tf.add(whole, gatherRows(parameter(`${positionTable}.weight`) as tf.Tensor as tf.Tensor2D, tf.tensor1d(places.positionIds, 'int32')));
  };

  /** Embeddings of tokens, [tokens, hidden]; of those whose rows were replaced, the replacement's. */
  const lookUp = (ids: Int32Array): tf.Tensor2D => {
    const stored = gatherRows(embedding as tf.Tensor as tf.Tensor2D, tf.tensor1d(ids, 'int32'));
    if (ownRows === null) return stored;
    const { places, values } = ownRows;
    const isOwn = tf.tensor2d(Float32Array.from(ids, (id) => (places.has(id) ? 1 : 0)), [ids.length, 1]);
    const own = gatherRows(values(), tf.tensor1d(Int32Array.from(ids, (id) => places.get(id) ?? 0), 'int32'));
    return tf.add(tf.mul(stored, tf.sub(constant(1), isOwn)), tf.mul(own, isOwn));
  };

  const head = (hidden: tf.Tensor2D): tf.Tensor2D => {
    const logits = linear(HEAD_NAME)(hidden);
    const cap = shape.logitSoftCap;
    return cap === null ? logits : tf.mul(tf.tanh(tf.mul(logits, constant(1 / cap))), constant(cap));
  };

  const chosen = (hidden: tf.Tensor2D, positions: Positions): tf.Tensor2D => (positions === 'all' ? hidden : gatherRows(hidden, tf.tensor1d(positions, 'int32')));

  return {
    architecture: shape.architecture,
    config,
    vocabularySize: shape.vocabularySize,
    addedTokens,
    hiddenSize: shape.hiddenSize,
    layers: shape.layers.length,
    maxLength: shape.maxLength,
    parameters,
    quantised,
    linearSites,
    attentionSites,
    embeddingSite: {
      name: embeddingName(shape),
      weight: embedding,
      setPromptEmbeddings(prompt) {
        promptEmbeddings = prompt;
      },
      setRows(rows) {
        ownRows = rows === null ? null : { places: new Map(rows.ids.map((id, index) => [id, index])), values: rows.values };
      },
    },
    folder,
    training: false,
    hiddenStates: (input) => tf.reshape(run(input, null), [input.rows, input.length, shape.hiddenSize]),
    head,
    plainHead() {
      const weight = linearSites.get(HEAD_NAME)?.plainWeight() ?? null;
      return weight === null ? null : { weight, softCap: shape.logitSoftCap };
    },
    logits: (input, positions) => head(chosen(run(input, null), positions)),
    setFrozenPrefix(prefix) {
      if (prefix !== null && !(prefix.layers >= 0 && prefix.layers <= shape.layers.length)) throw new WhetstoneError('INTERNAL', 'The model has not as many layers.', { expected: `0 to ${shape.layers.length}`, found: String(prefix.layers) });
      frozenPrefix = prefix;
    },
    createCache: (rows) => createKeyValueCache(rows),
    decode(input, cache) {
      const last = Int32Array.from({ length: input.rows }, (_, row) => (row + 1) * input.length - 1);
      return tf.tidy(() => head(chosen(run(input, asDecoderCache(cache, input.rows)), last)));
    },
    dispose() {
      for (const variable of parameters.values()) variable.dispose();
    },
  };
}

function asDecoderCache(cache: KeyValueCache, rows: number): DecoderCache {
  const own = cache as Partial<DecoderCache>;
  if (own.append === undefined || own.rows !== rows) {
    throw new WhetstoneError('INTERNAL', 'The cache was made for another number of rows.', { expected: `${rows} rows`, found: `${own.rows ?? 'no'} rows` });
  }
  return cache as DecoderCache;
}

/** Refuses what would read outside the model's tables. */
function checkInput(shape: DecoderShape, { rows, length, ids, positionIds, segmentIds }: ForwardInput): void {
  const tokens = rows * length;
  if (ids.length !== tokens || positionIds.length !== tokens || segmentIds.length !== tokens) {
    throw new WhetstoneError('INTERNAL', 'A batch\'s arrays do not fit its rows and length.', { expected: `${rows} × ${length}`, found: `${ids.length}, ${positionIds.length}, ${segmentIds.length}` });
  }
  const foreign = ids.find((id) => id < 0 || id >= shape.vocabularySize);
  if (foreign !== undefined) {
    throw new WhetstoneError('TOKENIZER_INVALID', 'A token id is outside of the model\'s vocabulary.', {
      expected: `0 to ${shape.vocabularySize - 1}`, found: String(foreign), hint: 'The tokenizer belongs to another model.',
    });
  }
}

/** Learned positions end where their table does; those behind a prefix or prompt embeddings count. */
function checkPositions(shape: DecoderShape, positionIds: Int32Array): void {
  if (shape.names.positions === null) return;
  const beyond = positionIds.find((position) => position >= shape.maxLength);
  if (beyond !== undefined) {
    throw new WhetstoneError('CONTEXT_EXCEEDED', 'A sequence is longer than the model has positions for.', { expected: `at most ${shape.maxLength} tokens`, found: `position ${beyond}` });
  }
}

function prefixLengthOf(shape: DecoderShape, prefixes: ReadonlyMap<number, AttentionPrefix>): number {
  const lengths = new Set(shape.layers.map((_, layer) => prefixes.get(layer)?.key.shape[2] ?? 0));
  if (lengths.size > 1) throw new WhetstoneError('INTERNAL', 'The prefixes of the layers differ in length.', { found: [...lengths].join(', ') });
  return [...lengths][0] ?? 0;
}

/** Prompt embeddings before every row of [rows × length, hidden]. */
function withPrompt(embedded: tf.Tensor2D, { rows, length }: ForwardInput, prompt: tf.Tensor2D): tf.Tensor2D {
  const [virtual, hidden] = prompt.shape;
  const forRows = tf.tile(tf.reshape(prompt, [1, virtual, hidden]), [rows, 1, 1]);
  return tf.reshape(tf.concat([forRows, tf.reshape(embedded, [rows, length, hidden])], 1), [rows * (virtual + length), hidden]);
}

function withoutVirtual(hidden: tf.Tensor2D, { rows, length }: Places, virtual: number): tf.Tensor2D {
  const features = hidden.shape[1];
  const own = tf.slice(tf.reshape(hidden, [rows, length, features]), [0, virtual, 0], [rows, length - virtual, features]);
  return tf.reshape(own, [rows * (length - virtual), features]);
}
