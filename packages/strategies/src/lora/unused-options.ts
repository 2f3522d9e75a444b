import { isWhetstoneError, type ModelOutline, type UnusedOption } from '@whetstone/core/contract';
import { layerIndexOf } from '@whetstone/core/util';
import { rankAndScale, type LoraOptions } from './options.js';
import { savedParameters } from './plan.js';
import { findTargets } from './targets.js';

const path = (option: string): string => `strategy.options.${option}`;

/**
 * Returns what the options select and how it is scaled, in a form that can be compared. Returns null if they select
 * nothing.
 */
function selectionOf(model: ModelOutline, options: LoraOptions): string | null {
  try {
    const targets = findTargets(model, options);
    return JSON.stringify([
      targets.map(({ name }) => [name, rankAndScale(name, options)]),
      savedParameters(model, targets, options),
    ]);
  } catch (error) {
    if (isWhetstoneError(error)) return null;
    throw error;
  }
}

/** Returns each list without one of its entries, with the path of that entry; the option itself if it is no list. */
function withoutEntries<K extends 'excludeModules' | 'layersToTransform'>(
  options: LoraOptions,
  key: K,
): { readonly option: string; readonly value: unknown; readonly changed: LoraOptions }[] {
  const value: unknown = options[key];
  if (value === null) return [];
  const entries: readonly unknown[] = Array.isArray(value) ? value : [value];
  return entries.map((entry, index) => {
    const rest = entries.filter((_, other) => other !== index);
    return {
      option: Array.isArray(value) ? `${key}[${index}]` : key,
      value: entry,
      changed: { ...options, [key]: rest.length === 0 ? null : rest },
    };
  });
}

function withoutPattern(options: LoraOptions, key: 'rankPattern' | 'alphaPattern', pattern: string): LoraOptions {
  return { ...options, [key]: Object.fromEntries(Object.entries(options[key]).filter(([other]) => other !== pattern)) };
}

/**
 * Returns the options that change nothing for this model: those without which the same modules are trained, with the
 * same ranks and scales.
 *
 * @param set the options that the user set
 */
export function unusedLoraOptions(
  model: ModelOutline,
  options: LoraOptions,
  set: Partial<LoraOptions> = {},
): UnusedOption[] {
  const selection = selectionOf(model, options);
  const isUnused = (changed: LoraOptions): boolean => selectionOf(model, changed) === selection;
  const unused: UnusedOption[] = [];
  const check = (changed: LoraOptions, option: string, reason: string): void => {
    if (isUnused(changed)) unused.push({ path: path(option), reason });
  };
  for (const { option, value, changed } of withoutEntries(options, 'excludeModules'))
    check(changed, option, `${JSON.stringify(value)} matches none of the modules that would be adapted`);
  for (const { option, value, changed } of withoutEntries(options, 'layersToTransform')) {
    const isLayer = [...model.linearSites.keys()].some((name) => layerIndexOf(name) === value);
    const reason = isLayer
      ? 'the same layers are adapted without it'
      : `the model has no layer ${String(value)}: its ${model.layers} layers are counted from 0`;
    check(changed, option, reason);
  }
  if (options.layersPattern !== null)
    check({ ...options, layersPattern: null }, 'layersPattern', 'the same layers are adapted without it');
  const { targetModules } = options;
  if (typeof targetModules !== 'string' && targetModules.length > 1)
    for (const [index, module] of targetModules.entries())
      check(
        { ...options, targetModules: targetModules.filter((_, other) => other !== index) },
        `targetModules[${index}]`,
        `the same modules are adapted without ${JSON.stringify(module)}`,
      );
  for (const key of ['rankPattern', 'alphaPattern'] as const)
    for (const pattern of Object.keys(options[key]))
      check(
        withoutPattern(options, key, pattern),
        `${key}[${JSON.stringify(pattern)}]`,
        'no adapted module has another value because of it',
      );
  if (options.bias !== 'none')
    check(
      { ...options, bias: 'none' },
      'bias',
      options.bias === 'all' ? 'the model has no biases' : 'the adapted modules have no biases',
    );
  for (const key of ['rank', 'alpha'] as const)
    if (set[key] !== undefined)
      check({ ...options, [key]: 2 * options[key] }, key, `${key}Pattern sets it for every adapted module`);
  if (options.useRslora) check({ ...options, useRslora: false }, 'useRslora', 'every rank is 1');
  const { modulesToSave } = options;
  if (modulesToSave !== null && modulesToSave.length > 1)
    for (const [index, module] of modulesToSave.entries())
      check(
        { ...options, modulesToSave: modulesToSave.filter((_, other) => other !== index) },
        `modulesToSave[${index}]`,
        `the same modules are saved without ${JSON.stringify(module)}`,
      );
  if (options.loraPlusRatio === 1)
    unused.push({ path: path('loraPlusRatio'), reason: 'with 1 all parameters have the same learning rate' });
  return unused;
}
