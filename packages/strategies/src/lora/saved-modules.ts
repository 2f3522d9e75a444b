import { variable, type Tensor2D, type Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError, type LanguageModel, type ModelOutline } from '@whetstone/core/contract';
import { rememberValue, unfreeze } from '../support/unfreeze.js';
import { matchesName } from '@whetstone/core/util';

/** Parameters of the base model that an adapter trains or replaces, by their name in the model. */
export interface SavedModules {
  readonly parameters: ReadonlyMap<string, Variable>;
  /** Restores the original values. */
  dispose(): void;
}

/** Returns whether the parameter belongs to one of the modules or to a submodule of one. */
export function belongsTo(parameter: string, modules: readonly string[]): boolean {
  const segments = parameter.split('.');
  return segments.some((_, length) => length > 0 && matchesName(segments.slice(0, length).join('.'), modules));
}

/**
 * Returns the names of the model's parameters that `modulesToSave` matches, including that of a tied head.
 *
 * @throws `STRATEGY_TARGETS_NOTHING` if a name matches no module
 */
export function findSavedModules(model: ModelOutline, modulesToSave: readonly string[]): string[] {
  const tied = [...model.linearSites.values()]
    .map((site) => `${site.name}.weight`)
    .filter((name) => !model.parameters.has(name));
  const candidates = [...model.parameters.keys(), ...tied];
  const unmatched = modulesToSave.filter((module) => !candidates.some((name) => belongsTo(name, [module])));
  if (unmatched.length > 0) {
    const modules = [...new Set(candidates.map((name) => name.replace(/\.[^.]*$/, '').replace(/\.\d+\./, '.*.')))];
    throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'Names in modulesToSave match no module of the model.', {
      place: { path: 'strategy.options.modulesToSave' },
      expected: `one or more of: ${modules.join(', ')}`,
      found: unmatched.join(', '),
      details: { modules: candidates },
    });
  }
  return candidates.filter((name) => belongsTo(name, modulesToSave));
}

/**
 * Returns `modules_to_save` for PEFT, which matches every module whose path ends with a name: `norm` also matches
 * `input_layernorm`. If a name would match too many modules, their full paths are listed instead.
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
    const selected = modules.filter((module) => belongsTo(`${module}.weight`, [key]));
    const found = modules.filter((module) => module.endsWith(key));
    return found.every((module) => selected.includes(module)) ? [key] : selected;
  });
}

/**
 * Gives an adapter the named parameters of the model. They are changed in place; `dispose` restores their original
 * values. As in PEFT, a named tied head gets a separate weight. If only the embedding is named, the tied head keeps the
 * original value.
 */
export function borrowParameters(model: LanguageModel, names: readonly string[], trainable: boolean): SavedModules {
  const parameters = new Map<string, Variable>();
  const undo: (() => void)[] = [];
  for (const name of names) {
    const stored = model.parameters.get(name);
    if (stored === undefined) {
      const site = model.linearSites.get(name.replace(/\.weight$/, ''));
      if (site === undefined) throw new WhetstoneError('INTERNAL', `The model has no parameter ${name}.`);
      const separate = variable(site.weight as unknown as Tensor2D, trainable);
      const restoreWeight = site.replaceWeight(() => separate);
      undo.push(() => {
        restoreWeight();
        separate.dispose();
      });
      parameters.set(name, separate as Variable);
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
