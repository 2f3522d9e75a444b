import type { PluginKind } from '../contract/index.js';
import { isRecord } from '../util/index.js';

/** A key of the configuration that names a plugin, or a list of plugins. */
export interface PluginSlot {
  readonly kind: PluginKind;
  /** The path of the key. */
  readonly path: readonly string[];
  /** Whether the value is a list of plugins. */
  readonly list: boolean;
  /** Whether the options are next to `use` instead of under `options`. */
  readonly flat: boolean;
}

const slot = (kind: PluginKind, path: readonly string[], more: Partial<PluginSlot> = {}): PluginSlot => ({
  kind,
  path,
  list: false,
  flat: false,
  ...more,
});

/** The plugins that are used if the configuration names none. */
export const defaultPlugins = { optimizer: 'adamw', schedule: 'linear' } as const satisfies Partial<
  Record<PluginKind, string>
>;

/** All keys of the configuration that name plugins. */
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

/** Returns the value at `path`, or undefined if there is none. */
export function valueAt(raw: unknown, path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((value, key) => {
    if (Array.isArray(value)) return (value as readonly unknown[])[Number(key)];
    return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  }, raw);
}

/** A plugin that a configuration names. `path` is the path of the object that contains `use`. */
export interface RequestedPlugin {
  readonly kind: PluginKind;
  readonly use: string;
  readonly path: readonly (string | number)[];
}

/** Returns the plugins that a normalised configuration names. The configuration may be invalid otherwise. */
export function collectUses(config: unknown): readonly RequestedPlugin[] {
  return pluginSlots.flatMap(({ kind, path, list }) => {
    const value = valueAt(config, path);
    const paths = list ? (Array.isArray(value) ? value.map((_, index) => [...path, index]) : []) : [path];
    return paths.flatMap((own): RequestedPlugin[] => {
      const use = valueAt(config, [...own, 'use']);
      return typeof use === 'string' && use !== '' ? [{ kind, use, path: own }] : [];
    });
  });
}
