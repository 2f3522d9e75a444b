import { WhetstoneError, type LinearSiteOutline, type Problem } from '@whetstone/core/contract';
import { didYouMean } from '@whetstone/core/util';
import { compilePattern } from '../support/compile-pattern.js';
import { layerIndexOf } from '../support/layer-index.js';
import type { LoraOptions } from './options.js';

type TargetOptions = Pick<
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

function isTargeted(site: LinearSiteOutline, options: TargetOptions): boolean {
  const { targetModules, layersToTransform, layersPattern } = options;
  if (isExcluded(site.name, options)) return false;
  if (typeof targetModules === 'string') {
    if (targetModules.toLowerCase() === 'all-linear') return !site.isOutput;
    return compilePattern(`^(?:${targetModules})$`, 'strategy.options.targetModules', targetModules).test(site.name);
  }
  if (targetModules.includes(site.name)) return true;
  if (!matchesName(site.name, targetModules)) return false;
  const layers = asList(layersToTransform);
  if (layers.length === 0) return true;
  const layer = layerIndexOf(site.name, asList(layersPattern));
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

/**
 * Returns a short list for `target_modules` that selects exactly `targets`: endings such as `q_proj` if they match no
 * other linear layer, otherwise full paths.
 */
export function describeTargets(
  model: { readonly linearSites: ReadonlyMap<string, LinearSiteOutline> },
  targets: readonly LinearSiteOutline[],
): string[] {
  const chosen = new Set(targets.map((site) => site.name));
  const all = [...model.linearSites.keys()];
  const described = new Set<string>();
  for (const { name } of targets) {
    const ending = name.slice(name.lastIndexOf('.') + 1);
    described.add(all.every((other) => chosen.has(other) || !matchesName(other, [ending])) ? ending : name);
  }
  return [...described].sort();
}
