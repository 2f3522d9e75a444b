import { gather, tensor1d, tidy, variable, type Tensor, type Tensor2D, type Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Json, type LanguageModel, type StrategyRun } from '@whetstone/core/contract';
import { createScalars } from '@whetstone/core/ops';
import { frozenLayersBelow } from '../support/frozen-layers-below.js';
import { loraAdapterConfig } from './adapter-config.js';
import { createDropout, type Dropout } from './dropout.js';
import { peftPrefix } from './from-peft.js';
import { rankAndScale, type LoraOptions } from './options.js';
import { savedKey, savedParameters } from './plan.js';
import { borrowParameters } from './saved-modules.js';
import { findTargets } from './targets.js';
import { attachTokenRows, tokenModules, tokenRowsKey, type TokenRows } from './token-rows.js';
import { createLayer } from './variants/index.js';
import type { LoraLayer, LoraVariant } from './variants/variant.js';

/** A new adapter in a model. */
export interface InstalledLora {
  readonly layers: readonly LoraLayer[];
  readonly dropout: Dropout;
  /** Parameters of the model that are trained completely, by name. */
  readonly saved: ReadonlyMap<string, Variable>;
  /** All trained variables, by their names in the adapter's file. */
  readonly trainable: ReadonlyMap<string, Variable>;
  /** The configuration of the exported adapter. */
  readonly config: Json;
  /** Restores the model and disposes the adapter. */
  remove(): void;
}

/**
 * Puts a new adapter into a model, whose other parameters are frozen: wraps the linear layers, and adds the trained
 * rows of the embedding and the parameters that are trained completely.
 */
export function installLora(
  model: LanguageModel,
  options: LoraOptions,
  variant: LoraVariant,
  { seed, modelFolder, worker = { rank: 0, count: 1 } }: StrategyRun,
): InstalledLora {
  const targets = findTargets(model, options);
  const savedNames = savedParameters(model, targets, options);
  const tokens = trainedTokens(model, options, savedNames);
  const rowModules = tokenModules(model, tokens, targets, savedNames);
  const trained = createTrainedTensors();
  const scalars = createScalars();

  // The adapted layers.
  const dropout = createDropout(model, options.dropout, seed, worker, scalars);
  const layers = targets.map((site) =>
    createLayer(variant, scalars, {
      site,
      ...rankAndScale(site.name, options),
      initLoraWeights: options.initLoraWeights,
      seed,
      tensor: (ending, initial) => trained.create(`${peftPrefix}${site.name}.${ending}`, initial()),
    }),
  );
  const unwrap = layers.map((layer) => {
    const mask = dropout.of(layer.site);
    return layer.site.wrap((base) => layer.forward(base, mask));
  });

  // Stored parameters that are trained as well, and rows of the embedding.
  const saved = borrowParameters(model, savedNames, true);
  for (const [name, parameter] of saved.parameters) trained.variables.set(savedKey(name, targets), parameter);
  const tokenRows = createTokenRows(model, rowModules, tokens, trained);
  const restoreRows = attachTokenRows(model, tokenRows);
  const unfreezePrefix = freezePrefix(model, [
    ...targets.map(({ name }) => name),
    ...savedNames,
    ...(tokens.length === 0 ? [] : [`${model.embeddingSite.name}.weight`]),
  ]);

  const exportedOptions = variant.exportedOptions?.(options) ?? options;
  return {
    layers,
    dropout,
    saved: saved.parameters,
    trainable: trained.variables,
    config: loraAdapterConfig(model, targets, exportedOptions, modelFolder, tokenRows, variant.peftType),
    remove: () => {
      unfreezePrefix();
      restoreRows();
      saved.dispose();
      for (const step of unwrap.reverse()) step();
      for (const each of [...layers, trained, scalars]) each.dispose();
    },
  };
}

/** The variables that an adapter creates, by their names in the adapter's file. */
interface TrainedTensors {
  readonly variables: Map<string, Variable>;
  /** Creates a variable and disposes its initial value. */
  create<T extends Tensor>(name: string, initial: T): T;
  /** Disposes the created variables. */
  dispose(): void;
}

function createTrainedTensors(): TrainedTensors {
  const variables = new Map<string, Variable>();
  const created: Variable[] = [];
  return {
    variables,
    create: <T extends Tensor>(name: string, initial: T): T => {
      const made = variable(initial, true);
      initial.dispose();
      variables.set(name, made);
      created.push(made);
      return made as unknown as T;
    },
    dispose: () => {
      for (const each of created) each.dispose();
    },
  };
}

/**
 * Returns the tokens whose rows are trained: the configured ones, otherwise the added ones; none if the complete
 * embedding is trained.
 */
function trainedTokens(
  model: LanguageModel,
  { trainableTokenIndices }: LoraOptions,
  saved: readonly string[],
): readonly number[] {
  const trainsEmbedding = saved.includes(`${model.embeddingSite.name}.weight`);
  if (trainsEmbedding && (trainableTokenIndices?.length ?? 0) > 0) {
    throw new WhetstoneError('CONFIG_CONFLICT', 'modulesToSave already trains the complete embedding.', {
      place: { path: 'strategy.options.trainableTokenIndices' },
      hint: 'Remove trainableTokenIndices, or the embedding from modulesToSave.',
    });
  }
  const beyond = trainableTokenIndices?.find((id) => id >= model.vocabularySize);
  if (beyond !== undefined)
    throw new WhetstoneError('CONFIG_INVALID', 'A token in trainableTokenIndices is outside of the vocabulary.', {
      place: { path: 'strategy.options.trainableTokenIndices' },
      expected: `ids below ${model.vocabularySize}`,
      found: String(beyond),
    });
  return trainsEmbedding ? [] : (trainableTokenIndices ?? model.addedTokens);
}

/** Creates the trained rows of modules, with the stored values. */
function createTokenRows(
  model: LanguageModel,
  modules: readonly string[],
  ids: readonly number[],
  trained: TrainedTensors,
): TokenRows[] {
  return modules.map((module) => {
    const table = model.parameters.get(`${module}.weight`) as unknown as Tensor2D;
    const rows = tidy(() => gather(table, tensor1d([...ids], 'int32')));
    return { module, ids, values: trained.create(peftPrefix + tokenRowsKey(module), rows) };
  });
}

/** Declares the layers below the lowest trained one as frozen. Returns a function that revokes this. */
function freezePrefix(model: LanguageModel, trained: readonly string[]): () => void {
  const layers = frozenLayersBelow(model, trained);
  if (layers === null || layers === 0) return () => {};
  model.setFrozenPrefix?.({ layers });
  return () => model.setFrozenPrefix?.(null);
}
