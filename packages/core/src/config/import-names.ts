import type { Json } from '../contract/index.js';
import { nearest } from '../util/index.js';
import { importedNames, peftNames } from './imported-names.js';
import type { ConfigDefaults, ImportedValue } from './normalize.js';
import { formatPath, parsePath, type Path } from './paths.js';
import { isObject, valueAt } from './slots.js';
import type { UnknownKey } from './validate-config.js';

/** Turns `per_device_train_batch_size` into `perDeviceTrainBatchSize`. */
const camelCase = (name: string): string =>
  name.replaceAll(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

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

/** The move of a value from an unknown key to the key that it means. */
export interface Rename {
  readonly from: Path;
  readonly to: Path;
  /** Whether the value is appended to the list at `to`. */
  readonly append: boolean;
  readonly value: Json;
}

/** Returns the rename for an unknown key that TRL or transformers use for an option of Whetstone, or undefined. */
export function importUnknownKey(
  unknown: UnknownKey,
  config: unknown,
  schema: unknown,
  defaults: ConfigDefaults,
): Rename | undefined {
  const { path, key, known } = unknown;
  const from = [...path, key];
  const value = valueAt(config, from) as Json;
  const camel = camelCase(key);
  if (camel !== key && known.includes(camel)) return { from, to: [...path, camel], append: false, value };
  const peft = Object.hasOwn(peftNames, key) ? peftNames[key] : undefined;
  if (peft !== undefined && known.includes(peft)) return { from, to: [...path, peft], append: false, value };
  // Names of other trainers are accepted at the top and in sections only.
  if (path.length > 1) return undefined;
  const table: { readonly [name: string]: (value: Json) => ImportedValue } = {
    ...importedNames,
    ...defaults.importedNames,
  };
  const imported = Object.hasOwn(table, key) ? table[key]?.(value) : undefined;
  if (imported !== undefined) {
    const append = imported.path.endsWith('+');
    return { from, to: parsePath(append ? imported.path.slice(0, -1) : imported.path), append, value: imported.value };
  }
  const to = key.includes('_') ? sectionKeys(schema).get(camel) : undefined;
  return to === undefined ? undefined : { from, to, append: false, value };
}

/**
 * Returns a hint with the path of the key that a misplaced or misspelled key means, and with the line to write;
 * undefined without one.
 */
export function pathHint(key: string, value: unknown, schema: unknown): string | undefined {
  const keys = sectionKeys(schema);
  const path = keys.get(camelCase(key));
  if (path !== undefined)
    return `It belongs at ${formatPath(path)}. Write "${path[0]}": { "${path[1]}": ${JSON.stringify(value)} }.`;
  const near = keys.get(nearest(key, [...keys.keys()]) ?? '');
  return near === undefined ? undefined : `Did you mean ${formatPath(near)}?`;
}

/**
 * Applies a rename to a raw configuration in place. Returns false, without a change, if the target key already exists
 * or its parent is not an object.
 */
export function applyRename(config: { [key: string]: unknown }, { from, to, append, value }: Rename): boolean {
  const parentOf = (path: Path): { [key: string]: unknown } | undefined => {
    let target: unknown = config;
    for (const key of path.slice(0, -1)) {
      if (!isObject(target)) return undefined;
      const object = target as { [key: string]: unknown };
      object[key] ??= {};
      target = object[key];
    }
    return isObject(target)
      ? (target as { [key: string]: unknown })
      : Array.isArray(target)
        ? (target as unknown as { [key: string]: unknown })
        : undefined;
  };
  const source = valueAt(config, from.slice(0, -1)) as { [key: string]: unknown };
  const target = parentOf(to);
  const key = String(to.at(-1));
  if (target === undefined) return false;
  if (append) {
    const list: unknown = target[key];
    if (list !== undefined && !Array.isArray(list)) return false;
    target[key] = [...((list as readonly unknown[] | undefined) ?? []), value];
  } else {
    if (Object.hasOwn(target, key)) return false;
    target[key] = value;
  }
  delete source[String(from.at(-1))];
  return true;
}
