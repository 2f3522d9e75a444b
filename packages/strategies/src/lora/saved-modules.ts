import { variable, type Tensor2D, type Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError, type LanguageModel, type ModelOutline } from '@whetstone/core/contract';
import { rememberValue, unfreeze } from '../support/unfreeze.js';
import { matchesName } from './targets.js';

/** Parameters of the base model that an adapter trains whole, by their name in the model. */
export interface SavedModules {
  readonly parameters: ReadonlyMap<string, Variable>;
  /** Puts everything back as it was. */
  dispose(): void;
}

/** True where the parameter belongs to a module of one of these names, or to a part of it. */
export function belongsTo(parameter: string, modules: readonly string[]): boolean {
  const parts = parameter.split('.');
  return parts.some((_, length) => length > 0 && matchesName(parts.slice(0, length).join('.'), modules));
}

/** Names in the model of the parameters that `modulesToSave` means, a tied head's included. */
export function findSavedModules(model: ModelOutline, modulesToSave: readonly string[]): string[] {
  const tied = [...model.linearSites.values()]
    .map((site) => `${site.name}.weight`)
    .filter((name) => !model.parameters.has(name));
  const candidates = [...model.parameters.keys(), ...tied];
  const lost = modulesToSave.filter((module) => !candidates.some((name) => belongsTo(name, [module])));
  if (lost.length > 0) {
    const modules = [...new Set(candidates.map((name) => name.replace(/\.[^.]*$/, '').replace(/\.\d+\./, '.*.')))];
    throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'modulesToSave matches nothing in the model.', {
      place: { path: 'strategy.options.modulesToSave' },
      expected: `one or more of: ${modules.join(', ')}`,
      found: lost.join(', '),
      details: { modules: candidates },
    });
  }
  return candidates.filter((name) => belongsTo(name, modulesToSave));
}

/**
 * `modules_to_save` for PEFT, which takes every module whose path ends with one of the names, `input_layernorm` for
 * `norm` too: where that would be more than is meant, whole paths.
 */
export function describeSavedModules(model: LanguageModel, modulesToSave: readonly string[]): string[] {
  const modules = [
    ...new Set(
      [...model.parameters.keys(), ...[...model.linearSites.keys()].map((name) => `${name}.weight`)].map((name) =>
        name.replace(/\.[^.]*$/, ''),
      ),
    ),
  ];
  return modulesToSave.flatMap((key) => {
    const meant = modules.filter((module) => belongsTo(`${module}.weight`, [key]));
    const found = modules.filter((module) => module.endsWith(key));
    return found.every((module) => meant.includes(module)) ? [key] : meant;
  });
}

/**
 * Makes the named parameters an adapter's own. They are trained in place, and their first values put back at the end. A
 * tied head gets a weight of its own, and a head tied to an embedding that is trained keeps the embedding's first
 * value, as in PEFT.
 */
export function ownParameters(model: LanguageModel, names: readonly string[], trainable: boolean): SavedModules {
  const parameters = new Map<string, Variable>();
  const undo: (() => void)[] = [];
  for (const name of names) {
    const stored = model.parameters.get(name);
    if (stored === undefined) {
      const site = model.linearSites.get(name.replace(/\.weight$/, ''));
      if (site === undefined) throw new WhetstoneError('INTERNAL', `No parameter ${name}.`);
      const own = variable(site.weight as unknown as Tensor2D, trainable);
      const putBack = site.replaceWeight(() => own);
      undo.push(() => {
        putBack();
        own.dispose();
      });
      parameters.set(name, own as Variable);
      continue;
    }
    const { original, restore } = rememberValue(stored);
    undo.push(restore);
    if (trainable) undo.push(unfreeze([stored]));
    for (const site of model.linearSites.values()) {
      const isTied = site.isOutput && site.weight === stored && site.name !== name.replace(/\.weight$/, '');
      if (isTied && !names.includes(`${site.name}.weight`)) undo.push(site.replaceWeight(() => original as Tensor2D));
    }
    parameters.set(name, stored);
  }
  return {
    parameters,
    dispose: () => {
      for (const step of undo.reverse()) step();
    },
  };
}
