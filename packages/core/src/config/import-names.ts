import type { Json } from '../contract/index.js';
import { nearest } from './did-you-mean.js';
import { importedNames } from './imported-names.js';
import type { ConfigDefaults, ImportedValue } from './normalize.js';
import { formatPath, parsePath, type Path } from './paths.js';
import { isObject, valueAt } from './slots.js';
import type { UnknownKey } from './validate-config.js';

/** Turns `per_device_train_batch_size` into `perDeviceTrainBatchSize`. */
const camelCase = (name: string): string =>
  name.replaceAll(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** Where the frame's keys stand, by name; only names that stand in one place. */
function frameKeys(schema: unknown): ReadonlyMap<string, Path> {
  const places = new Map<string, Path | null>();
  const sections = valueAt(schema, ['properties']);
  for (const [section, own] of Object.entries(isObject(sections) ? sections : {})) {
    for (const properties of [valueAt(own, ['properties']), ...optionsOfBranches(own)]) {
      for (const key of Object.keys(isObject(properties) ? properties : {})) {
        if (key === 'use' || key === 'options') continue;
        const present = places.get(key);
        places.set(
          key,
          present === undefined || formatPath(present ?? []) === `${section}.${key}` ? [section, key] : null,
        );
      }
    }
  }
  return new Map([...places].flatMap(([key, path]) => (path === null ? [] : [[key, path] as const])));
}

/** Options that stand beside `use`, as the optimizer's. */
function optionsOfBranches(section: unknown): readonly unknown[] {
  const branches = valueAt(section, ['allOf']);
  return Array.isArray(branches) ? branches.map((branch) => valueAt(branch, ['then', 'properties'])) : [];
}

export interface Rename {
  readonly from: Path;
  readonly to: Path;
  /** Whether the value is added to the list at `to`. */
  readonly append: boolean;
  readonly value: Json;
}

/** What an unknown key of a configuration was meant to be, where it is the name that TRL gives to something of ours. */
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
  // Elsewhere than at the top or in a section of the frame, a name of another trainer is a mistake.
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
  const place = key.includes('_') ? frameKeys(schema).get(camel) : undefined;
  return place === undefined ? undefined : { from, to: place, append: false, value };
}

/** A hint at the place of the frame that a misplaced key belongs to, also where it is misspelled besides. */
export function placeHint(key: string, schema: unknown): string | undefined {
  const keys = frameKeys(schema);
  const place = keys.get(camelCase(key));
  if (place !== undefined) return `It belongs at ${formatPath(place)}.`;
  const near = keys.get(nearest(key, [...keys.keys()]) ?? '');
  return near === undefined ? undefined : `Did you mean ${formatPath(near)}?`;
}

/**
 * Carries renames out on a raw configuration (in place). A key that is already there is left, and the rename refused.
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
