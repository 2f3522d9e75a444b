import type { Json } from './json.js';
import type { PluginKind } from './plugin.js';

/**
 * The options of the plugins that a typed configuration may name, as a configuration writes them. The key is the kind
 * of the plugin, a space, and the value of `use`. Import `whetstone` for those of the built-in plugins. A package adds
 * its own:
 *
 * ```ts
 * declare module '@whetstone/core/contract' {
 *   interface PluginOptions {
 *     'callback @acme/whetstone-pause': WrittenOptions<typeof configSchema>;
 *   }
 * }
 * ```
 */
export interface PluginOptions {
  /** Names are texts. An interface without members is not one that others may extend. */
  readonly [none: symbol]: never;
}

/** The options of a plugin whose schema is not known to the compiler. */
type AnyOptions = Readonly<Record<string, Json>>;

/** The path of a plugin in a file, optionally with `#` and the name of the plugin in it. */
type PluginFile = `./${string}` | `../${string}` | `/${string}` | `file:${string}`;

/** The values of `use` of one kind that {@link PluginOptions} lists. */
type NameOf<K extends PluginKind> = keyof PluginOptions extends infer Key
  ? Key extends `${K} ${infer Use}`
    ? Use
    : never
  : never;

type OptionsOf<K extends PluginKind, Use extends string> = `${K} ${Use}` extends infer Key extends keyof PluginOptions
  ? PluginOptions[Key]
  : never;

/** The values of `use` of one kind of which no option is required. */
type BareName<K extends PluginKind> =
  NameOf<K> extends infer Use extends string
    ? Use extends string
      ? Record<never, never> extends OptionsOf<K, Use>
        ? Use
        : never
      : never
    : never;

/** A plugin with its options under `options`. The type parameter is the kind of the plugin. */
export type LongPluginReference<K extends PluginKind> =
  | {
      readonly [Use in NameOf<K>]: Record<never, never> extends OptionsOf<K, Use>
        ? {
            /** The name of a built-in plugin, an npm package, or a local file, for example ./mine.ts. */
            readonly use: Use;
            /** The options of the plugin. */
            readonly options?: OptionsOf<K, Use>;
          }
        : {
            /** The name of a built-in plugin, an npm package, or a local file, for example ./mine.ts. */
            readonly use: Use;
            /** The options of the plugin. */
            readonly options: OptionsOf<K, Use>;
          };
    }[NameOf<K>]
  | {
      /** A local file, for example ./mine.ts. */
      readonly use: PluginFile;
      /** The options of the plugin. */
      readonly options?: AnyOptions;
    };

/** A plugin with its options under `options`, or only its name if no option is required. */
export type PluginReference<K extends PluginKind> = LongPluginReference<K> | BareName<K> | PluginFile;

/** An optimizer or schedule: its options are next to `use`. `Default` is used if no `use` is given. */
export type FlatPluginReference<K extends 'optimizer' | 'schedule', Default extends string> =
  | {
      readonly [Use in NameOf<K>]: (Use extends Default
        ? {
            /** The name of a built-in plugin, an npm package, or a local file, for example ./mine.ts. */
            readonly use?: Use;
          }
        : {
            /** The name of a built-in plugin, an npm package, or a local file, for example ./mine.ts. */
            readonly use: Use;
          }) &
        OptionsOf<K, Use> &
        (K extends 'optimizer'
          ? {
              /** The base learning rate. */
              readonly learningRate?: number;
            }
          : unknown);
    }[NameOf<K>]
  | BareName<K>
  | PluginFile;
