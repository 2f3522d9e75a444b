import type { PluginKind } from '../contract/index.js';
import { isRecord } from '../util/index.js';

/** A place of the configuration where a plugin is named. */
export interface PluginSlot {
  readonly kind: PluginKind;
  /** Keys that lead there; under a list, the plugins are its items. */
  readonly path: readonly string[];
  readonly list: boolean;
  /** Whether the options stand beside `use` instead of under `options`. */
  readonly flat: boolean;
}

const slot = (kind: PluginKind, path: readonly string[], more: Partial<PluginSlot> = {}): PluginSlot => ({
  kind,
  path,
  list: false,
  flat: false,
  ...more,
});

/** Every place of the configuration where a plugin is named. */
export const pluginSlots: readonly PluginSlot[] = [
  slot('model', ['model']),
  slot('data-source', ['data', 'train']),
  slot('data-source', ['data', 'eval']),
  slot('data-transform', ['data', 'transforms'], { list: true }),
  slot('metric', ['evaluation', 'metrics'], { list: true }),
  slot('strategy', ['strategy']),
  slot('strategy', ['companions'], { list: true }),
  slot('callback', ['callbacks'], { list: true }),
  slot('logger', ['loggers'], { list: true }),
  slot('optimizer', ['optimizer'], { flat: true }),
  slot('schedule', ['schedule'], { flat: true }),
];

type RawObject = { readonly [key: string]: unknown };

export function isObject(value: unknown): value is RawObject {
  return isRecord(value);
}

/** The value at `path` of a raw configuration, or undefined. */
export function valueAt(raw: unknown, path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((value, key) => {
    if (Array.isArray(value)) return (value as readonly unknown[])[Number(key)];
    return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  }, raw);
}

/** A plugin that a raw configuration asks for. */
export interface RequestedPlugin {
  readonly kind: PluginKind;
  readonly use: string;
  readonly path: readonly (string | number)[];
}

/** Phase one: every `use` of a normalised configuration, whatever else may be wrong with it. */
export function collectUses(config: unknown): readonly RequestedPlugin[] {
  return pluginSlots.flatMap(({ kind, path, list }) => {
    const value = valueAt(config, path);
    const places = list ? (Array.isArray(value) ? value.map((_, index) => [...path, index]) : []) : [path];
    return places.flatMap((place): RequestedPlugin[] => {
      const use = valueAt(config, [...place, 'use']);
      return typeof use === 'string' && use !== '' ? [{ kind, use, path: place }] : [];
    });
  });
}
