import type { LinearSiteOutline, ModelOutline } from '@whetstone/core/contract';
import { valueByPattern, type LoraOptions } from './options.js';
import { matchesName, sortKeys } from '@whetstone/core/util';
import { isTargeted, type TargetOptions } from './targets.js';

/** The fields of `adapter_config.json` by which PEFT selects the adapted modules. */
export type StoredTargets = Omit<TargetOptions, 'modulesToSave'>;

/** What the selection of modules depends on. */
type ModelModules = Pick<ModelOutline, 'linearSites'> & { readonly parameters: ReadonlyMap<string, unknown> };

const allLayers = { layersToTransform: null, layersPattern: null };

/**
 * Parts of regular expressions that JavaScript and Python read differently: groups after `(?<`, empty sets, and escaped
 * letters that only one of them has.
 */
const differsInPython = /\(\?<|\[\^?\]|\\[^\W_\dAbBdDfnrsStvwWZ]/;
const isPortable = (value: string | readonly string[] | null): boolean =>
  typeof value !== 'string' || !differsInPython.test(value);

/**
 * Returns the fields with which PEFT selects exactly `targets`. They are those of the options if PEFT accepts them and
 * selects these modules with them; otherwise names of modules.
 */
export function describeTargets(
  model: ModelModules,
  targets: readonly LinearSiteOutline[],
  options: TargetOptions,
): StoredTargets {
  const { targetModules, modulesToSave, layersToTransform, layersPattern } = options;
  const excludeModules = isPortable(options.excludeModules) ? options.excludeModules : null;
  const usesLayers =
    layersToTransform !== null && !(Array.isArray(layersToTransform) && layersToTransform.length === 0);
  const layers = usesLayers ? { layersToTransform, layersPattern } : allLayers;
  const names = shortestNames(model, targets);
  const endings = [...new Set(targets.map(({ name }) => endingOf(name)))].sort();
  const candidates: StoredTargets[] = [
    ...(isPortable(targetModules) && !hasPaths(model, targetModules)
      ? [{ targetModules: stored(targetModules), excludeModules, ...layers }]
      : []),
    { targetModules: usesLayers ? endings : names, excludeModules, ...layers },
  ];
  const chosen = new Set(targets.map(({ name }) => name));
  const modules = modulesOf(model);
  const selectsTargets = (fields: StoredTargets): boolean =>
    modules.every((name) => isTargeted({ name, isOutput: false }, { ...fields, modulesToSave }) === chosen.has(name));
  return (
    candidates.find((fields) => isAccepted(fields) && selectsTargets(fields)) ?? {
      targetModules: names,
      excludeModules: null,
      ...allLayers,
    }
  );
}

/** Returns whether PEFT accepts the fields: it refuses layers beside a regular expression. */
const isAccepted = ({ targetModules, layersToTransform, layersPattern }: StoredTargets): boolean =>
  [layersPattern ?? []].flat().every(isPortable) &&
  (typeof targetModules !== 'string' || (targetModules.toLowerCase() !== 'all-linear' && layersToTransform === null));

/**
 * Returns `rank_pattern` or `alpha_pattern` for PEFT: the patterns in the order in which they are written, by their
 * names. If Python reads one differently, or if another one would then decide for a module, it returns the values by
 * the paths of the modules.
 */
export function describePatterns(
  targets: readonly LinearSiteOutline[],
  patterns: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const written = sortKeys(patterns);
  const values = targets.map(({ name }) => [name, valueByPattern(patterns, name, null, name)] as const);
  const isSame = values.every(([name, value]) => valueByPattern(written, name, null, name) === value);
  if (isSame && Object.keys(patterns).every(isPortable)) return written;
  return Object.fromEntries(values.flatMap(([name, value]) => (value === null ? [] : [[name, value] as const])));
}

/** Returns whether a list contains full paths, as those of continued adapters do. */
const hasPaths = ({ linearSites }: ModelModules, names: LoraOptions['targetModules']): boolean =>
  typeof names !== 'string' && names.some((name) => linearSites.has(name));

const stored = (targetModules: LoraOptions['targetModules']): LoraOptions['targetModules'] =>
  typeof targetModules === 'string' ? targetModules : [...targetModules].sort();

const endingOf = (name: string): string => name.slice(name.lastIndexOf('.') + 1);

/**
 * Returns a short list that selects exactly `targets`: endings such as `q_proj` if they match no other linear layer,
 * otherwise full paths.
 */
function shortestNames(model: ModelModules, targets: readonly LinearSiteOutline[]): string[] {
  const chosen = new Set(targets.map(({ name }) => name));
  const all = [...model.linearSites.keys()];
  const described = new Set<string>();
  for (const { name } of targets) {
    const ending = endingOf(name);
    described.add(all.every((other) => chosen.has(other) || !matchesName(other, [ending])) ? ending : name);
  }
  return [...described].sort();
}

/** Returns the paths of all modules: those with parameters, linear layers, and the modules that contain them. */
function modulesOf({ linearSites, parameters }: ModelModules): readonly string[] {
  const modules = new Set<string>();
  for (const path of [...linearSites.keys(), ...[...parameters.keys()].map((name) => name.replace(/\.[^.]*$/, ''))]) {
    const segments = path.split('.');
    for (let length = 1; length <= segments.length; length++) modules.add(segments.slice(0, length).join('.'));
  }
  return [...modules];
}

/**
 * Returns the names of the modules that PEFT adapts with the fields of an adapter's configuration: linear layers and
 * tables such as the embedding. Null if the fields name no modules or are a regular expression that cannot be read.
 */
export function modulesOfFields(
  { linearSites, parameters }: Pick<ModelOutline, 'linearSites' | 'parameters'>,
  fields: TargetOptions,
): ReadonlySet<string> | null {
  if (fields.targetModules.length === 0) return null;
  const tables = [...parameters].flatMap(([name, { shape }]) => {
    const module = name.replace(/\.[^.]*$/, '');
    return shape.length === 2 && !linearSites.has(module) ? [{ name: module, isOutput: true }] : [];
  });
  try {
    return new Set(
      [...linearSites.values(), ...tables].flatMap((site) => (isTargeted(site, fields) ? [site.name] : [])),
    );
  } catch {
    return null;
  }
}
