import type { Variable } from '@tensorflow/tfjs-core';
import { definePlugin, WhetstoneError, type LanguageModel, type Strategy } from '@whetstone/core/contract';
import { layerIndexOf } from './support/layer-index.js';
import { unfreeze } from './support/unfreeze.js';

const patterns = { type: 'array', items: { type: 'string', minLength: 1 } } as const;

const configSchema = {
  type: 'object',
  properties: {
    trainLastLayers: { type: 'integer', minimum: 0, description: 'Train only the last k layers; 2 where freezeFirstLayers is not given either.' },
    freezeFirstLayers: { type: 'integer', minimum: 0, description: 'Freeze the first k layers and train those above.' },
    embeddings: { type: 'boolean', default: false, description: 'Train token and position embeddings.' },
    head: { type: 'boolean', description: 'Train the output layer. By default: yes, unless it is tied to the embeddings and those are frozen.' },
    finalNorm: { type: 'boolean', default: false, description: 'Train the norm before the output layer.' },
    train: { ...patterns, default: [], description: 'Parameters to train whatever the rest says: regular expressions that match the whole name.' },
    freeze: { ...patterns, default: [], description: 'Parameters to freeze whatever the rest says; stronger than `train`.' },
    unfreezeEverySteps: {
      type: 'integer',
      minimum: 1,
      description: 'Gradual unfreezing: begin with the topmost trained layer and take in one layer more after this many steps.',
    },
  },
  additionalProperties: false,
} as const;

export interface FrozenLayersOptions {
  readonly trainLastLayers?: number;
  readonly freezeFirstLayers?: number;
  readonly embeddings?: boolean;
  readonly head?: boolean;
  readonly finalNorm?: boolean;
  readonly train?: readonly string[];
  readonly freeze?: readonly string[];
  readonly unfreezeEverySteps?: number;
}

const invalid = (option: string, message: string, found: string, expected?: string): WhetstoneError =>
  new WhetstoneError('CONFIG_INVALID', message, { place: { path: `strategy.options.${option}` }, found, ...(expected === undefined ? {} : { expected }) });

function compile(option: string, sources: readonly string[]): RegExp[] {
  return sources.map((source, index) => {
    try {
      return new RegExp(`^(?:${source})$`);
    } catch (cause) {
      throw new WhetstoneError('CONFIG_INVALID', 'A pattern is not a regular expression.', { place: { path: `strategy.options.${option}[${index}]` }, found: source, cause });
    }
  });
}

/** Index of the first trained layer, 0-based. */
function firstTrainedLayer(model: LanguageModel, options: FrozenLayersOptions): number {
  const { trainLastLayers: last, freezeFirstLayers: first } = options;
  if (last !== undefined && first !== undefined) {
    throw new WhetstoneError('CONFIG_CONFLICT', 'trainLastLayers and freezeFirstLayers exclude each other.', { place: { path: 'strategy.options' }, hint: 'Keep one of them.' });
  }
  const option = first === undefined ? 'trainLastLayers' : 'freezeFirstLayers';
  const count = first ?? last ?? Math.min(2, model.layers);
  if (count > model.layers) throw invalid(option, `The model has ${model.layers} layers.`, String(count), `at most ${model.layers}`);
  return first === undefined ? model.layers - count : count;
}

/** Which parameters the options choose, each with its layer (null outside the layers). */
export function chooseParameters(model: LanguageModel, options: FrozenLayersOptions): Map<string, { readonly parameter: Variable; readonly layer: number | null }> {
  const firstLayer = firstTrainedLayer(model, options);
  const train = compile('train', options.train ?? []);
  const freeze = compile('freeze', options.freeze ?? []);
  const outputs = [...model.linearSites.values()].filter((site) => site.isOutput);
  const headWeights = new Set<Variable>(outputs.flatMap((site) => (site.bias === null ? [site.weight] : [site.weight, site.bias])));
  const embedding = model.embeddingSite.weight;

  const chosenByPart = (name: string, parameter: Variable, layer: number | null): boolean => {
    if (layer !== null) return layer >= firstLayer;
    if (parameter === embedding && headWeights.has(parameter)) return options.embeddings === true || options.head === true;
    if (headWeights.has(parameter)) return options.head ?? true;
    // Outside the layers only a norm holds vectors; what is left holds one row a token or position.
    return parameter.rank === 1 && !/embed|wpe|wte/.test(name) ? options.finalNorm === true : options.embeddings === true;
  };

  const chosen = new Map<string, { parameter: Variable; layer: number | null }>();
  for (const [name, parameter] of model.parameters) {
    const layer = layerIndexOf(name);
    const matches = (expressions: readonly RegExp[]): boolean => expressions.some((expression) => expression.test(name));
    if (!matches(freeze) && (matches(train) || chosenByPart(name, parameter, layer))) chosen.set(name, { parameter, layer });
  }
  for (const [option, expressions] of [['train', train], ['freeze', freeze]] as const) {
    for (const [index, expression] of expressions.entries()) {
      if (![...model.parameters.keys()].some((name) => expression.test(name))) throw matchesNothing(model, `strategy.options.${option}[${index}]`, expression.source.slice(4, -2));
    }
  }
  if (chosen.size === 0) throw matchesNothing(model, 'strategy.options', 'options that freeze every parameter');
  return chosen;
}

function matchesNothing(model: LanguageModel, path: string, found: string): WhetstoneError {
  const names = [...new Set([...model.parameters.keys()].map((name) => name.replace(/\.\d+\./, '.*.')))];
  return new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'No parameter of the model is meant.', {
    place: { path },
    expected: `a pattern for the whole name of a parameter: ${names.join(', ')}`,
    found,
    details: { parameters: [...model.parameters.keys()] },
  });
}

/** Layers that are trained at `step` updates done, under gradual unfreezing: from this index up. */
function lowestUnfrozenLayer(layers: readonly number[], everySteps: number | undefined, step: number): number {
  const sorted = [...new Set(layers)].sort((one, other) => other - one);
  const taken = everySteps === undefined ? sorted.length : Math.min(sorted.length, 1 + Math.floor(step / everySteps));
  return sorted[taken - 1] ?? 0;
}

/**
 * Trains a part of the model's own parameters and freezes the rest. Under gradual unfreezing (ULMFiT, Howard and Ruder 2018)
 * `trainable` grows from the top layer down; the optimizer keeps its moments by name.
 */
export function frozenLayersStrategy(given: FrozenLayersOptions = {}): Strategy {
  const options = { ...given };
  return {
    role: 'owner',
    attach: (model) => {
      const chosen = chooseParameters(model, options);
      const layers = [...chosen.values()].flatMap(({ layer }) => (layer === null ? [] : [layer]));
      let trainable = new Map<string, Variable>();
      let freezeAgain = (): void => {};
      let lowest: number | null = null;
      const unfreezeFrom = (next: number): void => {
        if (next === lowest) return;
        lowest = next;
        freezeAgain();
        trainable = new Map([...chosen].filter(([, { layer }]) => layer === null || layer >= next).map(([name, { parameter }]) => [name, parameter]));
        freezeAgain = unfreeze(trainable.values());
      };
      const moveTo = (step: number): void => unfreezeFrom(lowestUnfrozenLayer(layers, options.unfreezeEverySteps, step));
      moveTo(0);
      return {
        get trainable() {
          return trainable;
        },
        beforeStep: ({ step }) => moveTo(step),
        saveState: () => ({ tensors: new Map(), values: { lowestTrainedLayer: lowest } }),
        loadState: ({ values }) => {
          const saved = (values as { readonly lowestTrainedLayer?: number | null } | null)?.lowestTrainedLayer;
          if (typeof saved === 'number') unfreezeFrom(saved);
        },
        dispose: () => freezeAgain(),
      };
    },
  };
}

export const frozenLayers = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'frozen-layers',
  description: 'Trains the last layers, or what patterns choose, and freezes the rest.',
  configSchema,
  create: (options) => frozenLayersStrategy(options),
});
