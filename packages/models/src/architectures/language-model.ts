import * as tf from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type AttentionPrefix,
  type AttentionSite,
  type ForwardInput,
  type FrozenPrefix,
  type Json,
  type KeyValueCache,
  type LanguageModel,
  type Positions,
} from '@whetstone/core/contract';
import { constant, gatherRows } from '@whetstone/core/ops';
import { outsideOfTape, shapesAreStatic } from '@whetstone/core/ops/internal';
import { createContext, joinKeys, placesOf, prefixKeys, type Places } from './context.js';
import { normalizeLast, runLayers, type DecoderParts, type WantedTokens } from './decoder.js';
import { distinctTokens } from './distinct-tokens.js';
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
export function createLanguageModel({
  shape,
  config,
  parameters,
  folder,
  quantised = new Set(),
  addedTokens = [],
}: LanguageModelParts): LanguageModel {
  const parameter = (name: string): tf.Variable => {
    const variable = parameters.get(name);
    if (variable === undefined)
      throw new WhetstoneError('MODEL_TENSOR_MISSING', 'The model has no such parameter.', { place: { tensor: name } });
    return variable;
  };
  const embedding = parameter(`${embeddingName(shape)}.weight`);
  const positionTable = positionsName(shape);
  const linearSites = new Map<string, ComputedLinearSite>(
    linearShapes(shape).map((linear) => {
      const weight = linear.isOutput && shape.tiedHead ? embedding : parameter(`${linear.name}.weight`);
      const bias = linear.bias ? parameter(`${linear.name}.bias`) : null;
      return [linear.name, createLinearSite(linear, weight, bias, shape.fanInFanOut && !linear.isOutput)];
    }),
  );
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

  /**
   * One forward pass over the input and, with a cache, all that was read before: hidden states [positions, hidden] of
   * the input's own tokens.
   */
  const run = (input: ForwardInput, cache: DecoderCache | null, positions: Positions): tf.Tensor2D => {
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
    const frozen = cache === null && prompt === null && prefixLength === 0 ? frozenPrefix : null;
    // What is kept of frozen layers is kept whole; and a compiler of shapes would compile each number of tokens.
    const distinct =
      positions === 'all' || cache !== null || prompt !== null || frozen !== null || shapesAreStatic()
        ? null
        : distinctTokens(input, positions);
    const spread =
      distinct === null
        ? null
        : { tokenOf: tf.tensor1d(distinct.tokenOf, 'int32'), placeOf: tf.tensor1d(distinct.placeOf, 'int32') };
    const context = createContext(shape, places, keys, spread);
    const tokens =
      distinct === null
        ? { ids: input.ids, positionIds: places.positionIds }
        : { ids: pick(input.ids, distinct.placeOf), positionIds: pick(places.positionIds, distinct.placeOf) };
    const below = frozen === null ? embed(input, tokens, prompt) : frozenStates(frozen, parts, input);
    const wanted =
      positions === 'all' ? null : wantedTokens(positions, input.length, virtual, distinct?.tokenOf ?? null);
    const firstLayer = frozen?.layers ?? 0;
    const last = runLayers(shape, parts, context, below, cache, firstLayer, shape.layers.length, wanted);
    cache?.advance(input.length, keys);
    const hidden = normalizeLast(
      shape,
      parts,
      wanted !== null && firstLayer === shape.layers.length ? gatherRows(last, wanted.tokens) : last,
    );
    return virtual === 0 || wanted !== null ? hidden : withoutVirtual(hidden, places, virtual);
  };

  /**
   * What comes out of the layers that nothing trains: outside of the tape, and from an earlier pass where it was kept.
   */
  const frozenStates = ({ layers, states }: FrozenPrefix, parts: DecoderParts, input: ForwardInput): tf.Tensor2D => {
    const compute = (rows: ForwardInput): tf.Tensor2D => {
      const places = placesOf(rows, 0, 0);
      const keys = joinKeys(rows.rows, prefixKeys(rows.rows, 0), places);
      return runLayers(
        shape,
        parts,
        createContext(shape, places, keys),
        embed(rows, { ids: rows.ids, positionIds: places.positionIds }, null),
        null,
        0,
        layers,
      );
    };
    return outsideOfTape(() => (states === undefined ? compute(input) : states(input, compute)));
  };

  /** `tokens` of the input: their ids and, virtual tokens included, their positions. */
  const embed = (
    input: ForwardInput,
    { ids, positionIds }: Pick<ForwardInput, 'ids' | 'positionIds'>,
    prompt: tf.Tensor2D | null,
  ): tf.Tensor2D => {
    const looked = lookUp(ids);
    const scaled =
      shape.embeddingScale === 1 ? looked : (tf.mul(looked, constant(shape.embeddingScale)) as tf.Tensor2D);
    const whole = prompt === null ? scaled : withPrompt(scaled, input, prompt);
    if (positionTable === null) return whole;
    return tf.add(
      whole,
      gatherRows(parameter(`${positionTable}.weight`) as tf.Tensor as tf.Tensor2D, tf.tensor1d(positionIds, 'int32')),
    );
  };

  /** Embeddings of tokens, [tokens, hidden]; of those whose rows were replaced, the replacement's. */
  const lookUp = (ids: Int32Array): tf.Tensor2D => {
    const stored = gatherRows(embedding as tf.Tensor as tf.Tensor2D, tf.tensor1d(ids, 'int32'));
    if (ownRows === null) return stored;
    const { places, values } = ownRows;
    const isOwn = tf.tensor2d(
      Float32Array.from(ids, (id) => (places.has(id) ? 1 : 0)),
      [ids.length, 1],
    );
    const own = gatherRows(
      values(),
      tf.tensor1d(
        Int32Array.from(ids, (id) => places.get(id) ?? 0),
        'int32',
      ),
    );
    return tf.add(tf.mul(stored, tf.sub(constant(1), isOwn)), tf.mul(own, isOwn));
  };

  const head = (hidden: tf.Tensor2D): tf.Tensor2D => {
    const logits = linear(HEAD_NAME)(hidden);
    const cap = shape.logitSoftCap;
    return cap === null ? logits : tf.mul(tf.tanh(tf.mul(logits, constant(1 / cap))), constant(cap));
  };

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
        ownRows =
          rows === null ? null : { places: new Map(rows.ids.map((id, index) => [id, index])), values: rows.values };
      },
    },
    folder,
    training: false,
    hiddenStates: (input, positions) => run(input, null, positions),
    head,
    plainHead() {
      const weight = linearSites.get(HEAD_NAME)?.plainWeight() ?? null;
      return weight === null ? null : { weight, softCap: shape.logitSoftCap };
    },
    logits: (input, positions) => head(run(input, null, positions)),
    setFrozenPrefix(prefix) {
      if (prefix !== null && !(prefix.layers >= 0 && prefix.layers <= shape.layers.length))
        throw new WhetstoneError('INTERNAL', 'The model has not as many layers.', {
          expected: `0 to ${shape.layers.length}`,
          found: String(prefix.layers),
        });
      frozenPrefix = prefix;
    },
    createCache: (rows) => createKeyValueCache(rows),
    decode(input, cache) {
      const last = Int32Array.from({ length: input.rows }, (_, row) => (row + 1) * input.length - 1);
      return tf.tidy(() => head(run(input, asDecoderCache(cache, input.rows), input.length === 1 ? 'all' : last)));
    },
    dispose() {
      for (const variable of parameters.values()) variable.dispose();
    },
  };
}

const pick = (values: Int32Array, places: Int32Array): Int32Array => places.map((place) => values[place] ?? 0);

/** The tokens at the chosen positions of the input, and their places: in each row behind the virtual ones. */
function wantedTokens(
  positions: Int32Array,
  length: number,
  virtual: number,
  tokenOf: Int32Array | null,
): WantedTokens {
  const places =
    virtual === 0 ? positions : positions.map((position) => position + virtual * (1 + Math.floor(position / length)));
  const indices = tf.tensor1d(places, 'int32');
  return { places: indices, tokens: tokenOf === null ? indices : tf.tensor1d(pick(tokenOf, places), 'int32') };
}

function asDecoderCache(cache: KeyValueCache, rows: number): DecoderCache {
  const own = cache as Partial<DecoderCache>;
  if (own.append === undefined || own.rows !== rows) {
    throw new WhetstoneError('INTERNAL', 'The cache was made for another number of rows.', {
      expected: `${rows} rows`,
      found: `${own.rows ?? 'no'} rows`,
    });
  }
  return cache as DecoderCache;
}

/** Refuses what would read outside the model's tables. */
function checkInput(shape: DecoderShape, { rows, length, ids, positionIds, segmentIds }: ForwardInput): void {
  const tokens = rows * length;
  if (ids.length !== tokens || positionIds.length !== tokens || segmentIds.length !== tokens) {
    throw new WhetstoneError('INTERNAL', "A batch's arrays do not fit its rows and length.", {
      expected: `${rows} × ${length}`,
      found: `${ids.length}, ${positionIds.length}, ${segmentIds.length}`,
    });
  }
  const foreign = ids.find((id) => id < 0 || id >= shape.vocabularySize);
  if (foreign !== undefined) {
    throw new WhetstoneError('TOKENIZER_INVALID', "A token id is outside of the model's vocabulary.", {
      expected: `0 to ${shape.vocabularySize - 1}`,
      found: String(foreign),
      hint: 'The tokenizer belongs to another model.',
    });
  }
}

/** Learned positions end where their table does; those behind a prefix or prompt embeddings count. */
function checkPositions(shape: DecoderShape, positionIds: Int32Array): void {
  if (shape.names.positions === null) return;
  const beyond = positionIds.find((position) => position >= shape.maxLength);
  if (beyond !== undefined) {
    throw new WhetstoneError('CONTEXT_EXCEEDED', 'A sequence is longer than the model has positions for.', {
      expected: `at most ${shape.maxLength} tokens`,
      found: `position ${beyond}`,
    });
  }
}

function prefixLengthOf(shape: DecoderShape, prefixes: ReadonlyMap<number, AttentionPrefix>): number {
  const lengths = new Set(shape.layers.map((_, layer) => prefixes.get(layer)?.key.shape[2] ?? 0));
  if (lengths.size > 1)
    throw new WhetstoneError('INTERNAL', 'The prefixes of the layers differ in length.', {
      found: [...lengths].join(', '),
    });
  return [...lengths][0] ?? 0;
}

/** Prompt embeddings before every row of [rows × length, hidden]. */
function withPrompt(embedded: tf.Tensor2D, { rows, length }: ForwardInput, prompt: tf.Tensor2D): tf.Tensor2D {
  const [virtual, hidden] = prompt.shape;
  const forRows = tf.tile(tf.reshape(prompt, [1, virtual, hidden]), [rows, 1, 1]);
  return tf.reshape(tf.concat([forRows, tf.reshape(embedded, [rows, length, hidden])], 1), [
    rows * (virtual + length),
    hidden,
  ]);
}

function withoutVirtual(hidden: tf.Tensor2D, { rows, length }: Places, virtual: number): tf.Tensor2D {
  const features = hidden.shape[1];
  const own = tf.slice(
    tf.reshape(hidden, [rows, length, features]),
    [0, virtual, 0],
    [rows, length - virtual, features],
  );
  return tf.reshape(own, [rows * (length - virtual), features]);
}
