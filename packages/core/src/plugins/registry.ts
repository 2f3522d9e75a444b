import { WhetstoneError, type Plugin, type PluginKind } from '../contract/index.js';
import { validatePlugin } from './validate-plugin.js';

/** Plugins by kind and name. */
export interface PluginRegistry {
  find(kind: PluginKind, name: string): Plugin | undefined;
  /** Adding the same plugin again does nothing. Throws `PLUGIN_CONFLICT` where another one has its kind and name. */
  add(plugin: Plugin, origin: string): void;
  names(kind: PluginKind): readonly string[];
  readonly plugins: readonly Plugin[];
}

/** @throws WhetstoneError `PLUGIN_INVALID`, `PLUGIN_CONFLICT` */
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
          `Two plugins of kind ${plugin.kind} are called '${plugin.name}': one of ${present.origin}, one of ${origin}.`,
          {
            hint: 'Rename one of them; names appear in checkpoints and errors.',
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
