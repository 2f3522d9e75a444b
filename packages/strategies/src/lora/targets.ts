import { WhetstoneError, type LinearSiteOutline, type Problem } from '@whetstone/core/contract';
import { didYouMean } from '@whetstone/core/util';
import { compilePattern } from '../support/compile-pattern.js';
import { layerIndexOf } from '../support/layer-index.js';
import type { LoraOptions } from './options.js';

/** The options that select the adapted modules. */
export type TargetOptions = Pick<
  LoraOptions,
  'targetModules' | 'excludeModules' | 'layersToTransform' | 'layersPattern' | 'modulesToSave'
>;

/** Returns whether `name` is one of the keys, or ends with one after a dot, as PEFT matches lists of modules. */
export function matchesName(name: string, keys: readonly string[]): boolean {
  return keys.some((key) => name === key || name.endsWith(`.${key}`));
}

const asList = <T>(value: T | readonly T[] | null): readonly T[] =>
  value === null ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];

function isExcluded(name: string, { excludeModules, modulesToSave }: TargetOptions): boolean {
  if (
    typeof excludeModules === 'string' &&
    compilePattern(`^(?:${excludeModules})$`, 'strategy.options.excludeModules', excludeModules).test(name)
  )
    return true;
  if (Array.isArray(excludeModules) && matchesName(name, excludeModules as readonly string[])) return true;
  // A module that is trained completely does not get an adapter.
  return (modulesToSave ?? []).some((key) =>
    compilePattern(`(^|.*\\.)${key}($|\\..*)`, 'strategy.options.modulesToSave', key).test(name),
  );
}

/** Returns whether a module is in the layers of `layersToTransform`; true for all modules if it is not set. */
function isInLayers(name: string, { layersToTransform, layersPattern }: TargetOptions): boolean {
  const layers = asList(layersToTransform);
  if (layers.length === 0) return true;
  const layer = layerIndexOf(
    name,
    asList(layersPattern).filter((pattern) => pattern !== ''),
  );
  return layer !== null && layers.includes(layer);
}

const restricting = ['excludeModules', 'layersToTransform', 'layersPattern', 'modulesToSave'] as const;

/** Returns the option without which some layer would be selected; undefined if there is no such option. */
const emptyingOption = (
  sites: readonly LinearSiteOutline[],
  options: TargetOptions,
): (typeof restricting)[number] | undefined =>
  restricting.find(
    (option) => options[option] !== null && sites.some((site) => isTargeted(site, { ...options, [option]: null })),
  );

/**
 * Returns whether the options select a module, by PEFT's rules. PEFT refuses `layers_to_transform` with `all-linear` or
 * a regular expression; here it selects layers among them.
 */
export function isTargeted(
  { name, isOutput }: Pick<LinearSiteOutline, 'name' | 'isOutput'>,
  options: TargetOptions,
): boolean {
  const { targetModules } = options;
  if (isExcluded(name, options)) return false;
  if (typeof targetModules === 'string') {
    const isMatch =
      targetModules.toLowerCase() === 'all-linear'
        ? !isOutput
        : compilePattern(`^(?:${targetModules})$`, 'strategy.options.targetModules', targetModules).test(name);
    return isMatch && isInLayers(name, options);
  }
  // PEFT adapts a module that is listed with its full path in any layer.
  return targetModules.includes(name) || (matchesName(name, targetModules) && isInLayers(name, options));
}

/**
 * Returns the target modules in the model's order, with PEFT's rules for `target_modules`, `exclude_modules`,
 * `layers_to_transform` and `modules_to_save`.
 *
 * @throws `STRATEGY_TARGETS_NOTHING` if a name, or all options together, match no layer; lists the existing names
 */
export function findTargets<S extends LinearSiteOutline>(
  model: { readonly linearSites: ReadonlyMap<string, S> },
  options: TargetOptions,
): S[] {
  const sites = [...model.linearSites.values()];
  const found = sites.filter((site) => isTargeted(site, options));
  const { targetModules } = options;
  const unmatched =
    typeof targetModules === 'string'
      ? []
      : targetModules.filter((key) => !sites.some((site) => matchesName(site.name, [key])));
  if (found.length > 0 && unmatched.length === 0) return found;

  const emptying = unmatched.length > 0 ? undefined : emptyingOption(sites, options);
  if (emptying !== undefined)
    throw new WhetstoneError(
      'STRATEGY_TARGETS_NOTHING',
      `No linear layer remains: ${emptying} leaves none of those that targetModules selects.`,
      {
        place: { path: `strategy.options.${emptying}` },
        expected: 'at least one layer of targetModules',
        found: JSON.stringify(options[emptying]),
        hint: `Change or remove ${emptying}, or select other targetModules.`,
        details: { linearSites: sites.map((site) => site.name) },
      },
    );

  const endings = [...new Set(sites.map((site) => site.name.slice(site.name.lastIndexOf('.') + 1)))];
  const problems = unmatched.map((key): Problem => ({
    message: 'No linear layer has this name.',
    place: { path: `strategy.options.targetModules[${(targetModules as readonly string[]).indexOf(key)}]` },
    found: key,
    hint: didYouMean(key, endings),
  }));
  throw new WhetstoneError(
    'STRATEGY_TARGETS_NOTHING',
    unmatched.length > 0
      ? 'Names in targetModules match no linear layer of the model.'
      : 'The options select no linear layer of the model.',
    {
      place: { path: 'strategy.options.targetModules' },
      expected: `one or more of: ${endings.join(', ')}; or "all-linear"`,
      found: JSON.stringify(targetModules),
      problems,
      details: { linearSites: sites.map((site) => site.name) },
    },
  );
}
