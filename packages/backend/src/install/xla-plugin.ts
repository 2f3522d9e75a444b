import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { acceleratorFiles } from './accelerator-files.js';
import { acceleratorKinds, acceleratorSet, pluginPath, type AcceleratorKind } from './accelerators.js';
import { cacheFolder } from './cache-folder.js';
import { findLibrary, type FoundLibrary, type LibrarySearch } from './find-library.js';
import { absence, installedFolder, installWheel, isInstalled } from './install-wheel.js';
import type { InstallOptions } from './progress.js';
import { xlaCpuWheels, type WheelSet } from './wheels.js';

/** A PJRT plugin on this machine: `path` is the shared library. */
export type XlaPlugin = FoundLibrary;

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

const pluginIn = (folder: string): string => join(folder, 'xla_plugins', 'xla_cpu_pjrt', 'xla_cpu_pjrt.so');

/** Returns a plugin in package folders such as `jax_plugins`, or null. One for an accelerator is preferred. */
async function bestPlugin(packages: readonly string[]): Promise<string | null> {
  const plugins: string[] = [];
  for (const parent of packages) {
    for (const folder of await readdir(parent).catch(() => [])) {
      const files = await readdir(join(parent, folder)).catch(() => []);
      plugins.push(
        ...files
          .filter((file) => /(_plugin|_pjrt)\.(so|dylib|dll)$/.test(file))
          .map((file) => join(parent, folder, file)),
      );
    }
  }
  return plugins.toSorted((a, b) => Number(/cpu/.test(a)) - Number(/cpu/.test(b)) || a.localeCompare(b))[0] ?? null;
}

const search: LibrarySearch = {
  configured: 'the configured plugin',
  variable: 'WHETSTONE_XLA_PLUGIN',
  invalid: 'which is not a file',
  atPath: async (path) => ((await isFile(path)) ? path : null),
  inCache: async (cache) => {
    const platform = `${process.platform}-${process.arch}`;
    for (const kind of acceleratorKinds) {
      if (acceleratorFiles[kind][platform] === undefined) continue;
      const set = acceleratorSet(kind, platform);
      if (await isInstalled(set, cache))
        return { path: join(installedFolder(set, cache), ...pluginPath(kind)), version: set.version };
    }
    const wheel = xlaCpuWheels[`${process.platform}-${process.arch}`];
    if (wheel === undefined)
      return { reason: `no XLA plugin for CPUs is published for ${process.platform}-${process.arch}` };
    if (await isInstalled(wheel, cache))
      return { path: pluginIn(installedFolder(wheel, cache)), version: wheel.version };
    const state = await absence(wheel, cache);
    return { reason: `an XLA plugin ${state} (fetch one with \`npx @whetstone/backend install xla-cpu\`)` };
  },
  packages: ['jax_plugins', 'xla_plugins'],
  distributions: [],
  inPackages: bestPlugin,
  title: 'XLA plugin',
};

/**
 * Searches for a PJRT plugin: the configured file, `WHETSTONE_XLA_PLUGIN`, the cache, and Python's `jax_plugins` and
 * `xla_plugins`, in this order. Within the cache or Python, a plugin for an accelerator is preferred.
 *
 * @returns the plugin, or the reasons why none was found
 */
export async function findXlaPlugin(
  configured: string | null = null,
  cache: string = cacheFolder(),
): Promise<XlaPlugin | { readonly reasons: readonly string[] }> {
  return findLibrary(search, configured, cache);
}

/** The plugins that `backend install` fetches. */
export const xlaPluginKinds: readonly XlaPluginKind[] = [...acceleratorKinds, 'xla-cpu'];

export type XlaPluginKind = AcceleratorKind | 'xla-cpu';

/**
 * Returns the wheels of a kind of plugin on a platform.
 *
 * @throws `DOWNLOAD_FAILED` if none are published
 */
export function xlaPluginSet(kind: XlaPluginKind, platform: string = `${process.platform}-${process.arch}`): WheelSet {
  if (kind !== 'xla-cpu') return acceleratorSet(kind, platform);
  const wheel = xlaCpuWheels[platform];
  if (wheel === undefined)
    throw new WhetstoneError('DOWNLOAD_FAILED', `No XLA plugin for CPUs is published for ${platform}.`, {
      expected: Object.keys(xlaCpuWheels).join(', '),
      found: platform,
    });
  return { name: wheel.name, version: wheel.version, wheels: [wheel] };
}

/**
 * Installs an XLA plugin and its libraries in the cache.
 *
 * @throws `DOWNLOAD_FAILED` if none is published for this platform, or as {@link installWheel}
 */
export async function installXlaPlugin(
  kind: XlaPluginKind = 'xla-cpu',
  options: InstallOptions = {},
): Promise<XlaPlugin> {
  const set = xlaPluginSet(kind);
  if (kind !== 'xla-cpu')
    return { path: join(await installWheel(set, options), ...pluginPath(kind)), source: 'cache', version: set.version };
  const [wheel] = set.wheels;
  return { path: pluginIn(await installWheel(wheel ?? set, options)), source: 'cache', version: set.version };
}
