import {
  add,
  concat,
  mul,
  reshape,
  slice,
  sub,
  tanh,
  tensor1d,
  tensor2d,
  tidy,
  tile,
  type Tensor,
  type Tensor2D,
  type Variable,
} from '@tensorflow/tfjs-core';
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
import { createContext, createTokenGrid, joinKeys, prefixKeys, type TokenGrid } from './context.js';
import { normalizeLast, runLayers, type DecoderModules, type OutputPositions } from './decoder.js';
import { distinctTokens } from './distinct-tokens.js';
import { createKeyValueCache, type DecoderCache } from './key-value-cache.js';
import { createLinearSite, type ComputedLinearSite } from './linear-site.js';
import { HEAD_NAME, embeddingName, layerNames, linearShapes, positionsName } from './parameters.js';
import type { DecoderShape } from './shape.js';

export interface LanguageModelOptions {
  readonly shape: DecoderShape;
  /** The contents of config.json. */
  readonly config: Readonly<Record<string, Json>>;
  /** Parameters by name; the model owns and disposes them. */
  readonly parameters: ReadonlyMap<string, Variable>;
  /** The folder that the model was read from, or null. */
  readonly folder: string | null;
  /** Names of the parameters that were quantised when they were read. */
  readonly quantised?: ReadonlySet<string>;
  /** Ids of the tokens that were added to the vocabulary after the model was trained. */
  readonly addedTokens?: readonly number[];
}

/**
 * Creates a {@link LanguageModel} from existing variables. One forward pass is `run`: embed the tokens, compute the
 * layers (`decoder.ts`), normalize; then `head` computes the logits.
 *
 * @throws MODEL_TENSOR_MISSING if a parameter of the shape is not among the variables.
 */
export function createLanguageModel({
  shape,
  config,
  parameters,
  folder,
  quantised = new Set(),
  addedTokens = [],
}: LanguageModelOptions): LanguageModel {
  const parameter = (name: string): Variable => {
    const variable = parameters.get(name);
    if (variable === undefined)
      throw new WhetstoneError('MODEL_TENSOR_MISSING', 'The model lacks a parameter.', { place: { tensor: name } });
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
    if (site === undefined) throw new Error(`The model lacks the linear layer ${name}.`);
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
  let promptEmbeddings: (() => Tensor2D) | null = null;
  let frozenPrefix: FrozenPrefix | null = null;
  let replacedRows: { readonly rowOf: ReadonlyMap<number, number>; readonly values: () => Tensor2D } | null = null;

  /**
   * Computes one forward pass over the input and the tokens in the cache, if any. Returns the final hidden states
   * [positions, hidden] of the chosen positions of the input.
   */
  const run = (input: ForwardInput, cache: DecoderCache | null, positions: Positions): Tensor2D => {
    checkInput(shape, input);
    const first = cache === null || cache.length === 0;

    // Prefixes (per layer) and prompt embeddings (at the input) precede every row.
    const layerPrefixes = new Map([...prefixes].map(([layer, prefix]) => [layer, prefix()]));
    const prefixLength = prefixLengthOf(shape, layerPrefixes);
    const prompt = first ? (promptEmbeddings?.() ?? null) : null; // [promptLength, hidden]
    const promptLength = prompt?.shape[0] ?? 0;
    const positionOffset = first ? prefixLength : prefixLength + (promptEmbeddings?.().shape[0] ?? 0);

    // The grid [rows × (promptLength + length)] of this pass, and all keys that its tokens may attend to.
    const grid = createTokenGrid(input, promptLength, positionOffset);
    checkPositions(shape, grid.positionIds);
    const earlierKeys = cache === null || cache.length === 0 ? prefixKeys(input.rows, prefixLength) : cache.keys;
    const joined = joinKeys(input.rows, earlierKeys, grid);
    const keys = cache === null ? joined : cache.withCapacity(joined);
    const modules: DecoderModules = { parameter, linear, prefix: (layer) => layerPrefixes.get(layer) ?? null };

    // Equal beginnings are computed once. Not with frozen layers: their cached states cover all tokens of the grid. Not
    // with static shapes: each number of distinct tokens would be compiled separately.
    const frozen = cache === null && prompt === null && prefixLength === 0 ? frozenPrefix : null;
    const distinct =
      positions === 'all' || cache !== null || prompt !== null || frozen !== null || shapesAreStatic()
        ? null
        : distinctTokens(input, positions);
    const cellMap =
      distinct === null
        ? null
        : { tokenOf: tensor1d(distinct.tokenOf, 'int32'), cellOf: tensor1d(distinct.cellOf, 'int32') };
    const tokens =
      distinct === null
        ? { ids: input.ids, positionIds: grid.positionIds }
        : { ids: pick(input.ids, distinct.cellOf), positionIds: pick(grid.positionIds, distinct.cellOf) };

    const context = createContext(shape, grid, keys, cellMap);
    // [tokens, hidden]
    const layerInput = frozen === null ? embed(input, tokens, prompt) : frozenStates(frozen, modules, input);
    const outputPositions =
      positions === 'all' ? null : locateOutputs(positions, input.length, promptLength, distinct?.tokenOf ?? null);
    const firstLayer = frozen?.layers ?? 0;
    const last = runLayers(
      shape,
      modules,
      context,
      layerInput,
      cache,
      firstLayer,
      shape.layers.length,
      outputPositions,
    );
    cache?.advance(input.length, keys);
    // If every layer is frozen, runLayers computed none and did not select the output positions.
    const outputs =
      outputPositions !== null && firstLayer === shape.layers.length ? gatherRows(last, outputPositions.tokens) : last;
    const hidden = normalizeLast(shape, modules, outputs); // [outputs, hidden]
    return promptLength === 0 || outputPositions !== null ? hidden : withoutPrompt(hidden, grid, promptLength);
  };

  /**
   * Returns the hidden states after the frozen layers, [rows × length, hidden]: computed without gradient bookkeeping,
   * or from the cache that `FrozenPrefix.states` provides.
   */
  const frozenStates = ({ layers, states }: FrozenPrefix, modules: DecoderModules, input: ForwardInput): Tensor2D => {
    const compute = (rows: ForwardInput): Tensor2D => {
      const grid = createTokenGrid(rows, 0, 0);
      const keys = joinKeys(rows.rows, prefixKeys(rows.rows, 0), grid);
      return runLayers(
        shape,
        modules,
        createContext(shape, grid, keys),
        embed(rows, { ids: rows.ids, positionIds: grid.positionIds }, null),
        null,
        0,
        layers,
      );
    };
    return outsideOfTape(() => (states === undefined ? compute(input) : states(input, compute)));
  };

  /**
   * Embeds tokens: [tokens] → [tokens, hidden], preceded in each row by the prompt embeddings, which `positionIds`
   * covers.
   */
  const embed = (
    input: ForwardInput,
    { ids, positionIds }: Pick<ForwardInput, 'ids' | 'positionIds'>,
    prompt: Tensor2D | null,
  ): Tensor2D => {
    const rows = lookUp(ids);
    const scaled = shape.embeddingScale === 1 ? rows : (mul(rows, constant(shape.embeddingScale)) as Tensor2D);
    const embedded = prompt === null ? scaled : withPrompt(scaled, input, prompt);
    if (positionTable === null) return embedded;
    return add(
      embedded,
      gatherRows(parameter(`${positionTable}.weight`) as Tensor as Tensor2D, tensor1d(positionIds, 'int32')),
    );
  };

  /** Returns the rows of the embedding table, or their replacements: [tokens] → [tokens, hidden]. */
  const lookUp = (ids: Int32Array): Tensor2D => {
    const stored = gatherRows(embedding as Tensor as Tensor2D, tensor1d(ids, 'int32'));
    if (replacedRows === null) return stored;
    const { rowOf, values } = replacedRows;
    const isReplaced = tensor2d(
      Float32Array.from(ids, (id) => (rowOf.has(id) ? 1 : 0)),
      [ids.length, 1],
    );
    const replacement = gatherRows(
      values(),
      tensor1d(
        Int32Array.from(ids, (id) => rowOf.get(id) ?? 0),
        'int32',
      ),
    );
    return add(mul(stored, sub(constant(1), isReplaced)), mul(replacement, isReplaced));
  };

  /** Computes logits, soft cap included: [outputs, hidden] → [outputs, vocab]. */
  const head = (hidden: Tensor2D): Tensor2D => {
    const logits = linear(HEAD_NAME)(hidden);
    const cap = shape.logitSoftCap;
    return cap === null ? logits : mul(tanh(mul(logits, constant(1 / cap))), constant(cap));
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
        replacedRows =
          rows === null ? null : { rowOf: new Map(rows.ids.map((id, index) => [id, index])), values: rows.values };
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
        throw new WhetstoneError('INTERNAL', 'The frozen prefix has more layers than the model.', {
          expected: `0 to ${shape.layers.length}`,
          found: String(prefix.layers),
        });
      frozenPrefix = prefix;
    },
    createCache: (rows) => createKeyValueCache(rows),
    decode(input, cache) {
      const last = Int32Array.from({ length: input.rows }, (_, row) => (row + 1) * input.length - 1);
      return tidy(() => head(run(input, asDecoderCache(cache, input.rows), input.length === 1 ? 'all' : last)));
    },
    dispose() {
      for (const variable of parameters.values()) variable.dispose();
    },
  };
}

const pick = (values: Int32Array, cells: Int32Array): Int32Array => cells.map((cell) => values[cell] ?? 0);

/** Finds the chosen positions of the input in the grid, in which each row starts with the prompt embeddings. */
function locateOutputs(
  positions: Int32Array,
  length: number,
  promptLength: number,
  tokenOf: Int32Array | null,
): OutputPositions {
  const cells =
    promptLength === 0
      ? positions
      : positions.map((position) => position + promptLength * (1 + Math.floor(position / length)));
  const indices = tensor1d(cells, 'int32');
  return { cells: indices, tokens: tokenOf === null ? indices : tensor1d(pick(tokenOf, cells), 'int32') };
}

function asDecoderCache(cache: KeyValueCache, rows: number): DecoderCache {
  const candidate = cache as Partial<DecoderCache>;
  if (candidate.append === undefined || candidate.rows !== rows) {
    throw new WhetstoneError('INTERNAL', 'The cache was created for a different number of rows.', {
      expected: `${rows} rows`,
      found: `${candidate.rows ?? 'no'} rows`,
    });
  }
  return cache as DecoderCache;
}

/**
 * Checks that the arrays match the grid and that every id is in the vocabulary.
 *
 * @throws INTERNAL if an array has another length.
 * @throws TOKENIZER_INVALID if an id is outside of the vocabulary.
 */
function checkInput(shape: DecoderShape, { rows, length, ids, positionIds, segmentIds }: ForwardInput): void {
  const tokens = rows * length;
  if (ids.length !== tokens || positionIds.length !== tokens || segmentIds.length !== tokens) {
    throw new WhetstoneError('INTERNAL', 'The arrays of a batch do not match its rows and length.', {
      expected: `${rows} × ${length}`,
      found: `${ids.length}, ${positionIds.length}, ${segmentIds.length}`,
    });
  }
  const foreign = ids.find((id) => id < 0 || id >= shape.vocabularySize);
  if (foreign !== undefined) {
    throw new WhetstoneError('TOKENIZER_INVALID', "A token id is outside of the model's vocabulary.", {
      expected: `0 to ${shape.vocabularySize - 1}`,
      found: String(foreign),
      hint: 'Use the tokenizer of this model: the tokenizer in use has a larger vocabulary.',
    });
  }
}

/**
 * Checks positions against the table of learned positions, if the model has one. A prefix or prompt embeddings shift
 * the positions.
 *
 * @throws CONTEXT_EXCEEDED if a position is beyond the table.
 */
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

/** Returns the number of prefix keys, which must be equal in all layers. */
function prefixLengthOf(shape: DecoderShape, prefixes: ReadonlyMap<number, AttentionPrefix>): number {
  const lengths = new Set(shape.layers.map((_, layer) => prefixes.get(layer)?.key.shape[2] ?? 0));
  if (lengths.size > 1)
    throw new WhetstoneError('INTERNAL', 'The prefixes of the layers have different lengths.', {
      found: [...lengths].join(', '),
    });
  return [...lengths][0] ?? 0;
}

/** Inserts prompt embeddings before every row: [rows × length, hidden] → [rows × (promptLength + length), hidden]. */
function withPrompt(embedded: Tensor2D, { rows, length }: ForwardInput, prompt: Tensor2D): Tensor2D {
  const [promptLength, hidden] = prompt.shape;
  const forRows = tile(reshape(prompt, [1, promptLength, hidden]), [rows, 1, 1]);
  return reshape(concat([forRows, reshape(embedded, [rows, length, hidden])], 1), [
    rows * (promptLength + length),
    hidden,
  ]);
}

/** Removes the prompt embeddings from every row: the inverse of `withPrompt`. */
function withoutPrompt(hidden: Tensor2D, { rows, length }: TokenGrid, promptLength: number): Tensor2D {
  const features = hidden.shape[1];
  const inputTokens = slice(
    reshape(hidden, [rows, length, features]),
    [0, promptLength, 0],
    [rows, length - promptLength, features],
  );
  return reshape(inputTokens, [rows * (length - promptLength), features]);
}
