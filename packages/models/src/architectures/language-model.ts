import { mul, tanh, tidy, type Tensor2D, type Variable } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type AttentionSite,
  type EmbeddingSite,
  type Json,
  type KeyValueCache,
  type LanguageModel,
} from '@whetstone/core/contract';
import { constant } from '@whetstone/core/ops';
import { submitRecording } from '@whetstone/core/ops/internal';
import { decodeTokens, readTokens, startCache } from './decode-pass.js';
import type { Additions, ForwardModel } from './forward-model.js';
import { runForward } from './forward-pass.js';
import type { DecoderCache } from './key-value-cache.js';
import { createLinearSite, type ComputedLinearSite } from './linear-site.js';
import { HEAD_NAME, embeddingName, layerNames, linearShapes } from './parameters.js';
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
 * Creates a {@link LanguageModel} from existing variables. `runForward` (`forward-pass.ts`) computes the hidden states:
 * it embeds the tokens, computes the layers (`decoder.ts`) and normalizes. The head computes the logits.
 *
 * @throws `MODEL_TENSOR_MISSING` if a parameter of the shape is not among the variables
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
  const linearSites = createLinearSites(shape, parameter);
  const linear = (name: string): ComputedLinearSite['forward'] => {
    const site = linearSites.get(name);
    if (site === undefined) throw new Error(`The model lacks the linear layer ${name}.`);
    return site.forward;
  };
  const additions: Additions = { prefixes: new Map(), promptEmbeddings: null, replacedRows: null, frozenPrefix: null };
  const model: ForwardModel = { shape, parameter, linear, additions };
  const head = (hidden: Tensor2D): Tensor2D => computeLogits(model, hidden);

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
    attentionSites: createAttentionSites(shape, additions),
    embeddingSite: createEmbeddingSite(model),
    folder,
    training: false,
    hiddenStates: (input, positions) => runForward(model, input, positions),
    head,
    plainHead() {
      const weight = linearSites.get(HEAD_NAME)?.plainWeight() ?? null;
      return weight === null ? null : { weight, softCap: shape.logitSoftCap };
    },
    logits: (input, positions) => head(runForward(model, input, positions)),
    setFrozenPrefix(prefix) {
      if (prefix !== null && !(prefix.layers >= 0 && prefix.layers <= shape.layers.length))
        throw new WhetstoneError('INTERNAL', 'The frozen prefix has more layers than the model.', {
          expected: `0 to ${shape.layers.length}`,
          found: String(prefix.layers),
        });
      additions.frozenPrefix = prefix;
    },
    createCache: (slots) => startCache(model, slots),
    read(rows, cache) {
      tidy(() => void readTokens(model, rows, asDecoderCache(cache)));
      submitRecording();
    },
    decode: (rows, cache) => tidy(() => decodeTokens(model, head, rows, asDecoderCache(cache))),
    dispose() {
      for (const variable of parameters.values()) variable.dispose();
    },
  };
}

/** Creates the linear sites, by name. A tied head shares the matrix of the embedding. */
function createLinearSites(
  shape: DecoderShape,
  parameter: (name: string) => Variable,
): ReadonlyMap<string, ComputedLinearSite> {
  const embedding = parameter(`${embeddingName(shape)}.weight`);
  return new Map(
    linearShapes(shape).map((linear) => {
      const weight = linear.isOutput && shape.tiedHead ? embedding : parameter(`${linear.name}.weight`);
      const bias = linear.bias ? parameter(`${linear.name}.bias`) : null;
      return [linear.name, createLinearSite(linear, weight, bias, shape.fanInFanOut && !linear.isOutput)];
    }),
  );
}

/** Creates the attention sites, which set the prefix of their layer. */
function createAttentionSites(shape: DecoderShape, { prefixes }: Additions): readonly AttentionSite[] {
  return shape.layers.map((_, layer): AttentionSite => ({
    name: layerNames(shape, layer).attention,
    layer,
    keyValueHeads: shape.keyValueHeads,
    headDim: shape.headDim,
    setPrefix(prefix) {
      if (prefix === null) prefixes.delete(layer);
      else prefixes.set(layer, prefix);
    },
  }));
}

/** Creates the embedding site, which sets prompt embeddings and replaced rows. */
function createEmbeddingSite({ shape, parameter, additions }: ForwardModel): EmbeddingSite {
  const name = embeddingName(shape);
  return {
    name,
    weight: parameter(`${name}.weight`),
    setPromptEmbeddings(prompt) {
      additions.promptEmbeddings = prompt;
    },
    setRows(rows) {
      additions.replacedRows =
        rows === null ? null : { rowOf: new Map(rows.ids.map((id, index) => [id, index])), values: rows.values };
    },
  };
}

/** Computes logits, soft cap included: [outputs, hidden] → [outputs, vocab]. */
function computeLogits({ shape, linear }: ForwardModel, hidden: Tensor2D): Tensor2D {
  const logits = linear(HEAD_NAME)(hidden); // [outputs, vocab]
  const cap = shape.logitSoftCap;
  return cap === null ? logits : mul(tanh(mul(logits, constant(1 / cap))), constant(cap)); // [outputs, vocab]
}

function asDecoderCache(cache: KeyValueCache): DecoderCache {
  if ((cache as Partial<DecoderCache>).store === undefined)
    throw new WhetstoneError('INTERNAL', 'The cache was not created by a language model.');
  return cache as DecoderCache;
}
