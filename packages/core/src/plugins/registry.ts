import { WhetstoneError, type Plugin, type PluginKind } from '../contract/index.js';
import { validatePlugin } from './validate-plugin.js';

/** The known plugins, by kind and name. */
export interface PluginRegistry {
  /** Returns the plugin of a kind and name, or undefined. */
  find(kind: PluginKind, name: string): Plugin | undefined;
  /**
   * Registers a plugin. Adding the same plugin again has no effect.
   *
   * @param origin the package or file of the plugin, for error messages
   * @throws `PLUGIN_CONFLICT` if a different plugin has the same kind and name
   */
  add(plugin: Plugin, origin: string): void;
  /** Returns the names of all plugins of a kind. */
  names(kind: PluginKind): readonly string[];
  readonly plugins: readonly Plugin[];
}

/**
 * Creates a registry with the built-in plugins.
 *
 * @throws `PLUGIN_INVALID` if a plugin is invalid
 * @throws `PLUGIN_CONFLICT` if two plugins have the same kind and name
 */
export function createRegistry(builtIns: readonly Plugin[]): PluginRegistry {
  const entries = new Map<string, { readonly plugin: Plugin; readonly origin: string }>();
  const key = (kind: PluginKind, name: string) => `${kind} ${name}`;
  const registry: PluginRegistry = {
    find: (kind, name) => entries.get(key(kind, name))?.plugin,
    add: (plugin, origin) => {
      const present = entries.get(key(plugin.kind, plugin.name));
      if (present?.plugin === plugin) return;
      if (present !== undefined) {
        throw new WhetstoneError(
          'PLUGIN_CONFLICT',
          `Two plugins of kind ${plugin.kind} have the name '${plugin.name}': in ${present.origin} and in ${origin}.`,
          {
            hint: 'Rename one of them. Names identify plugins in checkpoints and errors.',
            details: { kind: plugin.kind, name: plugin.name, origins: [present.origin, origin] },
          },
        );
      }
      entries.set(key(plugin.kind, plugin.name), { plugin, origin });
    },
    names: (kind) =>
      [...entries.values()].filter(({ plugin }) => plugin.kind === kind).map(({ plugin }) => plugin.name),
    get plugins() {
      return [...entries.values()].map(({ plugin }) => plugin);
    },
  };
  for (const plugin of builtIns) registry.add(validatePlugin(plugin, 'the built-in plugins'), 'the built-in plugins');
  return registry;
}
