import type { Json } from '../contract/index.js';
import { isObject, pluginSlots, valueAt } from './slots.js';

interface PluginRequest {
  readonly use: string;
  readonly options?: { readonly [key: string]: Json };
}

/**
 * What a configuration means where it says nothing. Core knows no plugin of other packages by name: whoever composes a
 * trainer tells.
 */
export interface ConfigDefaults {
  readonly callbacks?: readonly PluginRequest[];
  readonly loggers?: readonly PluginRequest[];
  /** The data source that a path stands for: `"train.jsonl"` is `{use: dataSource, options: {path: "train.jsonl"}}`. */
  readonly dataSource?: string;
  /**
   * Names of other trainers' options, beside those that core knows: what they become, as a place and a value to put or,
   * with `+`, to add to the list there.
   */
  readonly importedNames?: Readonly<Record<string, (value: Json) => ImportedValue>>;
}

export interface ImportedValue {
  /** Keys joined by dots, as `callbacks+` (add to the list) or `output.folder`. */
  readonly path: string;
  readonly value: Json;
}

type Mutable = { [key: string]: unknown };

/**
 * Writes the short forms out: a plugin given by its name, data given by a path, a backend or a model given by its name;
 * fills in the lists and names that may be left out. What has a wrong type is left for validation to report. Returns a
 * copy.
 */
export function normalizeConfig(raw: unknown, defaults: ConfigDefaults): unknown {
  if (!isObject(raw)) return raw;
  const config = structuredClone(raw) as Mutable;
  const fill = (key: string, value: unknown) => {
    config[key] ??= structuredClone(value);
  };
  fill('callbacks', defaults.callbacks ?? []);
  fill('loggers', defaults.loggers ?? []);
  fill('optimizer', {});
  fill('schedule', {});
  if (typeof config['backend'] === 'string') config['backend'] = { name: config['backend'] };
  if (typeof config['model'] === 'string') config['model'] = { path: config['model'] };

  for (const { path, list, kind, flat } of pluginSlots) {
    const parent = valueAt(config, path.slice(0, -1));
    const key = path.at(-1);
    if (!isObject(parent) || key === undefined || kind === 'model') continue;
    const written = (value: unknown): unknown => {
      if (kind === 'data-source')
        return isPath(value) && defaults.dataSource !== undefined
          ? { use: defaults.dataSource, options: { path: value } }
          : value;
      const object = typeof value === 'string' ? { use: value } : value;
      if (!isObject(object) || !flat) return object;
      return { use: kind === 'optimizer' ? 'adamw' : 'linear', ...object };
    };
    const value = parent[key];
    (parent as Mutable)[key] = list && Array.isArray(value) ? value.map(written) : written(value);
    if (value === undefined) delete (parent as Mutable)[key];
  }
  return config;
}

function isPath(value: unknown): boolean {
  return (
    typeof value === 'string' ||
    (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string'))
  );
}
