import type { Json } from '../contract/index.js';
import { defaultPlugins, isObject, pluginSlots, valueAt } from './slots.js';

interface PluginRequest {
  readonly use: string;
  readonly options?: { readonly [key: string]: Json };
}

/**
 * Defaults of a configuration that depend on plugins of other packages. Core does not know their names; the package
 * that composes a trainer sets them.
 */
export interface ConfigDefaults {
  /** The callbacks of a configuration without `callbacks`. */
  readonly callbacks?: readonly PluginRequest[];
  /** The loggers of a configuration without `loggers`. */
  readonly loggers?: readonly PluginRequest[];
  /** The data source for paths: `"train.jsonl"` means `{use: dataSource, options: {path: "train.jsonl"}}`. */
  readonly dataSource?: string;
  /** Fields of other trainers, in addition to those that core knows. */
  readonly importedNames?: Readonly<Record<string, ImportField>>;
}

/** The configuration in which a field of another trainer was found. */
export interface ImportContext {
  /** The configuration as it is written. */
  readonly config: unknown;
  /** The names of the strategy's options; null if the strategy is not known. */
  readonly strategyOptions: readonly string[] | null;
}

/** Returns what a field of another trainer means; undefined if it is not decided yet. */
export type ImportField = (value: Json, context: ImportContext) => Imported | undefined;

/** What a field of another trainer means: options, nothing, or an error with the line to write instead. */
export type Imported =
  | ImportedValue
  | readonly ImportedValue[]
  | { /** Why it is left out. */ readonly ignored: string }
  | { /** Why it is refused, and the line to write. */ readonly hint: string };

/** An option of this configuration that is equivalent to an option of another trainer. */
export interface ImportedValue {
  /** The path of the option, for example `output.folder`; `callbacks+` appends the value to the list. */
  readonly path: string;
  readonly value: Json;
}

type Mutable = { [key: string]: unknown };

/**
 * Returns a copy of a configuration with long forms instead of short forms, such as a plugin given by its name or data
 * given by a path. Absent lists and names get their defaults. Values of a wrong type are unchanged: validation reports
 * them.
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
    const longForm = (value: unknown): unknown => {
      if (kind === 'data-source')
        return isPath(value) && defaults.dataSource !== undefined
          ? { use: defaults.dataSource, options: { path: value } }
          : value;
      const object = typeof value === 'string' ? { use: value } : value;
      if (!isObject(object) || !flat) return object;
      return { use: kind === 'optimizer' ? defaultPlugins.optimizer : defaultPlugins.schedule, ...object };
    };
    const value = parent[key];
    (parent as Mutable)[key] = list && Array.isArray(value) ? value.map(longForm) : longForm(value);
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
