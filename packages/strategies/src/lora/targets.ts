import { WhetstoneError, type LinearSiteOutline, type Problem } from '@whetstone/core/contract';
import { didYouMean, matchesName, selectsModule, type CompilePattern } from '@whetstone/core/util';
import { compilePattern } from '../support/compile-pattern.js';
import type { LoraOptions } from './options.js';

/** The options that select the adapted modules. */
export type TargetOptions = Pick<
  LoraOptions,
  'targetModules' | 'excludeModules' | 'layersToTransform' | 'layersPattern' | 'modulesToSave'
>;

const compileOption: CompilePattern = (source, field, written) =>
  compilePattern(source, `strategy.options.${field}`, written);

const restricting = ['excludeModules', 'layersToTransform', 'layersPattern', 'modulesToSave'] as const;

/** Returns the option without which some layer would be selected; undefined if there is no such option. */
const emptyingOption = (
  sites: readonly LinearSiteOutline[],
  options: TargetOptions,
): (typeof restricting)[number] | undefined =>
  restricting.find(
    (option) => options[option] !== null && sites.some((site) => isTargeted(site, { ...options, [option]: null })),
  );

/** Returns whether the options select a module, by PEFT's rules. */
export const isTargeted = (
  { name, isOutput }: Pick<LinearSiteOutline, 'name' | 'isOutput'>,
  options: TargetOptions,
): boolean => selectsModule(name, !isOutput, options, compileOption);

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
