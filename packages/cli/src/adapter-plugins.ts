import { join } from 'node:path';
import { isWhetstoneError, type Plugin } from '@whetstone/core/contract';
import { packageFolders, readPluginPackage } from './installed-plugins.js';
import { loadPlugins } from './load-plugins.js';

/**
 * Returns the plugins with which an adapter is read: the given ones, and the strategy that trained the adapter if no
 * other reads it. That strategy is loaded only from an installed package with the keyword `whetstone-plugin`: an
 * adapter may come from anywhere, and must not decide which file is run.
 *
 * @param warn receives a warning if the version of the strategy is another one than that which trained the adapter
 */
export async function pluginsForAdapter(
  folder: string,
  plugins: readonly Plugin[],
  warn: (message: string) => void = (message) => process.emitWarning(message),
): Promise<readonly Plugin[]> {
  const { isRead, readAdapterConfig, strategyOfAdapter } = await import('@whetstone/strategies/internal');
  if (isRead(await readAdapterConfig(folder), plugins)) return plugins;
  const origin = strategyOfAdapter(folder);
  if (origin === null || !isPluginPackage(origin.use)) return plugins;
  try {
    const [plugin] = await loadPlugins('strategy', [origin.use]);
    if (plugin === undefined) return plugins;
    const { version = null } = plugin;
    const [trained, installed] = [origin.version ?? 'unknown', version ?? 'unknown'];
    if (trained !== installed)
      warn(`The adapter was trained with version ${trained} of ${origin.use}, and is read with version ${installed}.`);
    return [...plugins, plugin];
  } catch (error) {
    // A package that is not installed is explained by the error about the type of the adapter.
    if (isWhetstoneError(error) && error.code === 'PLUGIN_NOT_FOUND') return plugins;
    throw error;
  }
}

/** A package, optionally a file that it exports and the name of a plugin in it. */
const PACKAGE_USE = /^((?:@[\w.~-]+\/)?[\w~-][\w.~-]*)((?:\/[\w.~-]+)*)(?:#[^]*)?$/;

/** Returns whether a name is that of a package with the keyword, installed for the working folder. */
function isPluginPackage(use: string): boolean {
  const [, name, subpath = ''] = PACKAGE_USE.exec(use) ?? [];
  // A path with `..` would lead out of the package, to a file that the adapter chooses.
  if (name === undefined || subpath.split('/').some((part) => /^\.+$/.test(part))) return false;
  return packageFolders(process.cwd()).some((folder) => readPluginPackage(join(folder, name)) !== null);
}
