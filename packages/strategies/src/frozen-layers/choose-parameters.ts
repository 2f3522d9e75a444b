import { WhetstoneError, isWhetstoneError, type ModelOutline, type UnusedOption } from '@whetstone/core/contract';
import { layerIndexOf, type Pattern } from '@whetstone/core/util';
import { compilePattern } from '../support/compile-pattern.js';
import type { FrozenLayersOptions } from './options.js';

const invalid = (option: string, message: string, found: string, expected?: string): WhetstoneError =>
  new WhetstoneError('CONFIG_INVALID', message, {
    place: { path: `strategy.options.${option}` },
    found,
    expected,
  });

const compile = (option: string, sources: readonly string[]): Pattern[] =>
  sources.map((source, index) => compilePattern(`^(?:${source})$`, `strategy.options.${option}[${index}]`, source));

/** Returns the index of the first trained layer, 0-based. */
function firstTrainedLayer(model: ModelOutline, options: FrozenLayersOptions): number {
  const { trainLastLayers: last, freezeFirstLayers: first } = options;
  if (last !== undefined && first !== undefined) {
    throw new WhetstoneError('CONFIG_CONFLICT', 'trainLastLayers and freezeFirstLayers cannot be combined.', {
      place: { path: 'strategy.options' },
      hint: 'Remove one of them.',
    });
  }
  const option = first === undefined ? 'trainLastLayers' : 'freezeFirstLayers';
  const count = first ?? last ?? Math.min(2, model.layers);
  if (count > model.layers)
    throw invalid(option, `The model has only ${model.layers} layers.`, String(count), `at most ${model.layers}`);
  return first === undefined ? model.layers - count : count;
}

/**
 * Returns the parameters that the options select, each with its layer (null outside of the layers).
 *
 * @throws `CONFIG_INVALID` if a pattern or a number of layers is invalid
 * @throws `CONFIG_CONFLICT` if options contradict each other
 * @throws `STRATEGY_TARGETS_NOTHING` if a pattern, or all options together, select no parameter
 */
export function chooseParameters(model: ModelOutline, options: FrozenLayersOptions): Map<string, number | null> {
  const firstLayer = firstTrainedLayer(model, options);
  const train = compile('train', options.train);
  const freeze = compile('freeze', options.freeze);
  const heads = [...model.linearSites.values()].filter((site) => site.isOutput).map((site) => `${site.name}.`);
  const isTied = heads.some((head) => !model.parameters.has(`${head}weight`));
  const embedding = `${model.embeddingSite.name}.weight`;

  const selectedByModule = (name: string, rank: number, layer: number | null): boolean => {
    if (layer !== null) return layer >= firstLayer;
    if (name === embedding && isTied) return options.embeddings || options.head === true;
    if (heads.some((head) => name.startsWith(head))) return options.head ?? true;
    // Outside of the layers, vectors belong to the final norm, and other matrices are tables of embeddings.
    return rank === 1 && !/embed|wpe|wte/.test(name) ? options.finalNorm : options.embeddings;
  };

  const chosen = new Map<string, number | null>();
  for (const [name, { shape }] of model.parameters) {
    const layer = layerIndexOf(name);
    const matches = (expressions: readonly Pattern[]): boolean =>
      expressions.some((expression) => expression.test(name));
    if (!matches(freeze) && (matches(train) || selectedByModule(name, shape.length, layer))) chosen.set(name, layer);
  }
  for (const [option, expressions] of [
    ['train', train],
    ['freeze', freeze],
  ] as const) {
    for (const [index, expression] of expressions.entries()) {
      if (![...model.parameters.keys()].some((name) => expression.test(name)))
        throw matchesNothing(model, `strategy.options.${option}[${index}]`, expression.source.slice(4, -2));
    }
  }
  if (chosen.size === 0) throw matchesNothing(model, 'strategy.options', 'options that freeze every parameter');
  return chosen;
}

function matchesNothing(model: ModelOutline, path: string, found: string): WhetstoneError {
  const names = [...new Set([...model.parameters.keys()].map((name) => name.replace(/\.\d+\./, '.*.')))];
  return new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'The options select no parameter of the model.', {
    place: { path },
    expected: `a pattern that matches the full name of a parameter: ${names.join(', ')}`,
    found,
    details: { parameters: [...model.parameters.keys()] },
  });
}

/** Returns the options that change nothing for this model: those without which the same parameters are trained. */
export function unusedFrozenOptions(model: ModelOutline, options: FrozenLayersOptions): UnusedOption[] {
  const selectionOf = (changed: FrozenLayersOptions): string => {
    try {
      return [...chooseParameters(model, changed).keys()].join();
    } catch (error) {
      if (isWhetstoneError(error)) return '';
      throw error;
    }
  };
  const selection = selectionOf(options);
  const unused: UnusedOption[] = [];
  const check = (changed: FrozenLayersOptions, option: string, reason: string): void => {
    if (selectionOf(changed) === selection) unused.push({ path: `strategy.options.${option}`, reason });
  };
  for (const [option, verb] of [
    ['train', 'trained'],
    ['freeze', 'frozen'],
  ] as const)
    for (const index of options[option].keys())
      check(
        { ...options, [option]: options[option].filter((_, other) => other !== index) },
        `${option}[${index}]`,
        `the same parameters are ${verb} without it`,
      );
  for (const option of ['embeddings', 'finalNorm'] as const)
    if (options[option]) check({ ...options, [option]: false }, option, 'the same parameters are trained without it');
  const head = [...model.linearSites.values()].find((site) => site.isOutput);
  if (options.head === false && head !== undefined && !model.parameters.has(`${head.name}.weight`))
    unused.push({
      path: 'strategy.options.head',
      reason: `the head has no weight of its own: it is tied to ${model.embeddingSite.name}.weight`,
    });
  const layers = new Set([...chooseParameters(model, options).values()].filter((layer) => layer !== null));
  if (options.unfreezeEverySteps !== undefined && layers.size < 2)
    unused.push({ path: 'strategy.options.unfreezeEverySteps', reason: 'fewer than two layers are trained' });
  return unused;
}
