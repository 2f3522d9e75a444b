import type { Plugin, PluginKind } from '@whetstone/core/contract';
import { builtInPlugins } from './built-ins.js';
import { sharedModules } from './trainer.js';

/** The option of commands that read an adapter. */
export interface PluginOptions {
  /** Packages or files of strategies that may read the adapter. */
  readonly plugin: readonly string[];
}

/** Loads plugins of a kind for a command: built-in names, packages and files, relative to the working folder. */
export async function loadPlugins<K extends PluginKind>(kind: K, uses: readonly string[]): Promise<Plugin<K>[]> {
  const { createRegistry, loadPlugin } = await import('@whetstone/core/plugins');
  const registry = createRegistry(builtInPlugins);
  const plugins: Plugin<K>[] = [];
  for (const use of uses)
    plugins.push((await loadPlugin(kind, use, { registry, baseFolder: process.cwd(), sharedModules })) as Plugin<K>);
  return plugins;
}
