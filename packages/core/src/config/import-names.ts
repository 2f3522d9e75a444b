import type { Json } from '../contract/index.js';
import { nearest } from '../util/index.js';
import { camelCase, importField, isStrategyField, lineOf, peftNames } from './imported-names.js';
import type { ConfigDefaults, Imported, ImportedValue } from './normalize.js';
import { longForm } from './overrides.js';
import { formatPath, parsePath, type Path } from './paths.js';
import { isObject, valueAt } from './slots.js';
import type { UnknownKey } from './validate-config.js';

/** Returns the paths of the keys in the sections of the configuration, by name, for names that occur only once. */
function sectionKeys(schema: unknown): ReadonlyMap<string, Path> {
  const paths = new Map<string, Path | null>();
  const sections = valueAt(schema, ['properties']);
  for (const [section, own] of Object.entries(isObject(sections) ? sections : {})) {
    for (const properties of [valueAt(own, ['properties']), ...optionsOfBranches(own)]) {
      for (const key of Object.keys(isObject(properties) ? properties : {})) {
        if (key === 'use' || key === 'options') continue;
        const present = paths.get(key);
        paths.set(
          key,
          present === undefined || formatPath(present ?? []) === `${section}.${key}` ? [section, key] : null,
        );
      }
    }
  }
  return new Map([...paths].flatMap(([key, path]) => (path === null ? [] : [[key, path] as const])));
}

/** Returns the options of plugins that are next to `use`, such as those of optimizers. */
function optionsOfBranches(section: unknown): readonly unknown[] {
  const branches = valueAt(section, ['allOf']);
  return Array.isArray(branches) ? branches.map((branch) => valueAt(branch, ['then', 'properties'])) : [];
}

/** A value to set at a path of a configuration. */
interface Assignment {
  readonly to: Path;
  /** Whether the value is appended to the list at `to`. */
  readonly append: boolean;
  readonly value: Json;
}

/** What an unknown key means: options under other names, nothing, or an error with a hint. */
export type UnknownKeyMeaning =
  | { readonly kind: 'options'; readonly from: Path; readonly options: readonly Assignment[] }
  | { readonly kind: 'ignored'; readonly from: Path; readonly reason: string }
  | { readonly kind: 'refused'; readonly from: Path; readonly hint: string };

const assignmentOf = ({ path, value }: ImportedValue): Assignment => {
  const append = path.endsWith('+');
  return { to: parsePath(append ? path.slice(0, -1) : path), append, value };
};

function meaningOf(from: Path, imported: Imported): UnknownKeyMeaning {
  if (Array.isArray(imported))
    return { kind: 'options', from, options: (imported as readonly ImportedValue[]).map(assignmentOf) };
  if ('ignored' in imported) return { kind: 'ignored', from, reason: imported.ignored };
  if ('hint' in imported) return { kind: 'refused', from, hint: imported.hint };
  return { kind: 'options', from, options: [assignmentOf(imported as ImportedValue)] };
}

/** Returns the names of the options of the configured strategy; null if it is not known. */
function strategyOptions(config: unknown, schema: unknown): readonly string[] | null {
  const use = valueAt(config, ['strategy', 'use']) ?? valueAt(config, ['strategy']);
  const options = valueAt(schema, ['$defs', `strategy ${String(use)}`, 'properties']);
  return isObject(options) ? Object.keys(options) : null;
}

/** Returns what an unknown key means that TRL, transformers or PEFT use for an option, or undefined. */
export function importUnknownKey(
  unknown: UnknownKey,
  config: unknown,
  schema: unknown,
  defaults: ConfigDefaults,
): UnknownKeyMeaning | undefined {
  const { path, key, known } = unknown;
  const from = [...path, key];
  const value = valueAt(config, from) as Json;
  const moved = (to: Path): UnknownKeyMeaning => ({ kind: 'options', from, options: [{ to, append: false, value }] });
  const isOption = path.join('.') === 'strategy.options';
  const camel = camelCase(key);
  // Names of other trainers are accepted at the top and in sections, and those of PEFT in the options of the strategy.
  const own = Object.hasOwn(defaults.importedNames ?? {}, key) ? defaults.importedNames?.[key] : undefined;
  const context = { config, strategyOptions: strategyOptions(config, schema) };
  const isField = path.length <= 1 || (isOption && isStrategyField(key));
  const imported = isField ? (own?.(value, context) ?? importField(key, value, context)) : undefined;
  if (imported !== undefined) return meaningOf(from, imported);
  if (camel !== key && known.includes(camel)) return moved([...path, camel]);
  const peft = Object.hasOwn(peftNames, key) ? peftNames[key] : undefined;
  if (peft !== undefined && known.includes(peft)) return moved([...path, peft]);
  const to = path.length <= 1 && key.includes('_') ? sectionKeys(schema).get(camel) : undefined;
  return to === undefined ? undefined : moved(to);
}

/**
 * Returns a hint with the path of the key that a misplaced or misspelled key means, and with the line to write;
 * undefined without one.
 */
export function pathHint(key: string, value: unknown, schema: unknown): string | undefined {
  const top = valueAt(schema, ['properties']);
  const keys = new Map<string, Path>(Object.keys(isObject(top) ? top : {}).map((name) => [name, [name]]));
  for (const [name, path] of sectionKeys(schema)) keys.set(name, path);
  const path = keys.get(camelCase(key));
  if (path !== undefined) {
    const line = lineOf(String(path.at(-1)), value as Json);
    return path.length === 1
      ? `It belongs at the top level of the configuration. Write ${line} there.`
      : `It belongs at ${formatPath(path)}. Write "${path[0]}": { ${line} }.`;
  }
  const near = keys.get(nearest(key, [...keys.keys()]) ?? '');
  return near === undefined ? undefined : `Did you mean ${formatPath(near)}?`;
}

/**
 * Returns a copy of a raw configuration with the options that an unknown key means instead of that key. Returns the
 * path of an option that already exists, or whose parent is not an object, if there is one.
 */
export function applyMeaning(
  config: { readonly [key: string]: unknown },
  { from, options }: Extract<UnknownKeyMeaning, { readonly kind: 'options' }>,
): { readonly [key: string]: unknown } | { readonly taken: Path } {
  const changed = structuredClone(config);
  removeAt(changed, from);
  for (const option of options) if (!assign(changed, option)) return { taken: option.to };
  return changed;
}

/** Removes the value at a path in place. */
export function removeAt(config: unknown, path: Path): void {
  const parent = valueAt(config, path.slice(0, -1));
  if (isObject(parent)) delete (parent as { [key: string]: unknown })[String(path.at(-1))];
}

/** Sets an option in place. Returns false, without a change, if it exists or its parent is not an object. */
function assign(config: unknown, { to, append, value }: Assignment): boolean {
  let target = config as { [key: string]: unknown };
  for (const [depth, key] of to.slice(0, -1).entries()) {
    const here = to.slice(0, depth + 1);
    const present = target[key];
    target[key] = typeof present === 'string' ? longForm(present, here) : (present ?? {});
    if (!isObject(target[key])) return false;
    target = target[key] as { [key: string]: unknown };
  }
  const key = String(to.at(-1));
  if (!append) {
    if (Object.hasOwn(target, key)) return false;
    target[key] = value;
    return true;
  }
  const list: unknown = target[key];
  if (list !== undefined && !Array.isArray(list)) return false;
  target[key] = [...((list as readonly unknown[] | undefined) ?? []), value];
  return true;
}
