import {
  isWhetstoneError,
  WhetstoneError,
  type Json,
  type Plugin,
  type PluginContext,
  type PluginInstances,
  type PluginKind,
  type Problem,
} from '../contract/index.js';
import { formatPath, type Path } from '../config/paths.js';
import { isObject, valueAt } from '../config/slots.js';
import { trackReads, type TrackedOptions } from '../config/track-reads.js';
import { validateInstance } from './validate-instance.js';
import { messageOf } from '../util/index.js';

interface CreatedPlugin {
  readonly plugin: string;
  readonly path: Path;
  readonly tracked: TrackedOptions;
  readonly schema: unknown;
}

/** Creates plugins and records which of their options they read. */
export interface PluginMaker {
  /**
   * Creates an instance of a plugin.
   *
   * @param path the path of its options in the configuration
   * @throws `PLUGIN_FAILED` if the plugin throws another error
   * @throws `PLUGIN_INVALID` if the instance lacks a method
   */
  create<K extends PluginKind>(
    kind: K,
    plugin: Plugin,
    options: Readonly<Record<string, Json>>,
    path: Path,
  ): Promise<PluginInstances[K]>;
  /** Returns the name of the plugin that created an instance; null if none did. */
  nameOf(instance: object): string | null;
  /**
   * Checks that plugins read every key that the user wrote. Skips plugins that have read no key yet.
   *
   * @throws `CONFIG_UNUSED_KEY` with all unread keys
   */
  checkUnusedKeys(): void;
  /** Returns a warning for each key that was not read until the end of the run. */
  unusedAtEnd(): readonly string[];
}

/** @param wasWritten returns whether the user wrote a key, as opposed to a default */
export function createPluginMaker(context: PluginContext, wasWritten: (path: Path) => boolean): PluginMaker {
  const createdPlugins: CreatedPlugin[] = [];
  const names = new WeakMap<object, string>();

  const unusedOf = ({ tracked, path, schema, plugin }: CreatedPlugin): readonly Problem[] =>
    tracked.unread().flatMap((own) => {
      const full = [...path, ...own];
      const value = JSON.stringify(valueAt(tracked.options, own));
      const byDefault = JSON.stringify(defaultOf(schema, own));
      return !wasWritten(full) || value === byDefault
        ? []
        : [
            {
              message: `'${plugin}' never read ${formatPath(full)}.`,
              place: { path: formatPath(full) },
              found: value,
              hint: 'Remove the key. (Plugin authors: read all options in create.)',
            },
          ];
    });

  return {
    create: async (kind, plugin, options, path) => {
      const tracked = trackReads(options, plugin.configSchema);
      createdPlugins.push({ plugin: plugin.name, path, tracked, schema: plugin.configSchema });
      try {
        const instance = await plugin.create(tracked.options as never, {
          ...context,
          isSet: (option) => wasWritten([...path, option]),
        });
        validateInstance(kind, instance, plugin.name);
        names.set(instance, plugin.name);
        return instance as PluginInstances[typeof kind];
      } catch (cause) {
        if (isWhetstoneError(cause)) throw cause;
        throw new WhetstoneError(
          'PLUGIN_FAILED',
          `The ${kind} '${plugin.name}' could not be created: ${messageOf(cause)}`,
          { place: { path: formatPath(path) }, details: { plugin: plugin.name, kind }, cause },
        );
      }
    },
    nameOf: (instance) => names.get(instance) ?? null,
    checkUnusedKeys: () => {
      // A plugin that has read no option yet may read them later. It is checked again at the end of the run.
      const problems = createdPlugins.filter(({ tracked }) => tracked.touched()).flatMap(unusedOf);
      const [first, ...rest] = problems;
      if (first !== undefined)
        throw new WhetstoneError('CONFIG_UNUSED_KEY', first.message, { ...first, problems: rest });
    },
    unusedAtEnd: () => createdPlugins.flatMap(unusedOf).map((problem) => problem.message),
  };
}

function defaultOf(schema: unknown, path: Path): unknown {
  const own = valueAt(
    schema,
    path.flatMap((key) => ['properties', key]),
  );
  return isObject(own) ? own['default'] : undefined;
}
