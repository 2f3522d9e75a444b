import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { cacheFolder } from './cache-folder.js';
import { installedFolder, installWheel, isInstalled } from './install-wheel.js';
import type { InstallOptions } from './progress.js';
import { findPython } from './python.js';
import { xlaCpuWheels } from './wheels.js';

/** A PJRT plugin on this machine. */
export interface XlaPlugin {
  /** The shared library. */
  readonly path: string;
  readonly source: 'configuration' | 'environment' | 'cache' | 'python';
  readonly version: string | null;
}

const isFile = (path: string): Promise<boolean> => stat(path).then((found) => found.isFile(), () => false);

/**
 * Looks for a PJRT plugin: the configuration's file, `WHETSTONE_XLA_PLUGIN`, the cache, then the packages `jax_plugins` and `xla_plugins` of
 * a Python on the PATH (which are not imported); among these an accelerator's before a CPU's. A file that was named but is not there ends
 * the search: what was asked for is not replaced.
 * @returns the plugin, or the reasons why there is none
 */
export async function findXlaPlugin(configured: string | null = null, cache: string = cacheFolder()): Promise<XlaPlugin | { readonly reasons: readonly string[] }> {
  const named: [XlaPlugin['source'], string | null | undefined, string][] = [
    ['configuration', configured, 'the configured plugin'],
    ['environment', process.env['WHETSTONE_XLA_PLUGIN'], 'WHETSTONE_XLA_PLUGIN'],
  ];
  for (const [source, path, title] of named) {
    if (!path) continue;
    if (await isFile(resolve(path))) return { path: resolve(path), source, version: null };
    return { reasons: [`${title} names ${path}, where no file is`] };
  }
  const reasons: string[] = [];
  const wheel = xlaCpuWheels[`${process.platform}-${process.arch}`];
  if (wheel === undefined) reasons.push(`no XLA plugin for CPUs is published for ${process.platform}-${process.arch}`);
  else if (await isInstalled(wheel, cache)) return { path: pluginIn(installedFolder(wheel, cache)), source: 'cache', version: wheel.version };
  else reasons.push('no XLA plugin is in the cache (fetch one with `whetstone backend install xla-cpu`)');
  const installed = await pythonPlugin();
  if ('reason' in installed) reasons.push(installed.reason);
  else return installed;
  return { reasons };
}

/** Puts the XLA plugin for this machine's CPU into the cache. Throws `DOWNLOAD_FAILED` where none is published. */
export async function installXlaPlugin(options: InstallOptions = {}): Promise<XlaPlugin> {
  const platform = `${process.platform}-${process.arch}`;
  const wheel = xlaCpuWheels[platform];
  if (wheel === undefined) throw new WhetstoneError('DOWNLOAD_FAILED', `No XLA plugin for CPUs is published for ${platform}.`, { expected: Object.keys(xlaCpuWheels).join(', '), found: platform });
  return { path: pluginIn(await installWheel(wheel, options)), source: 'cache', version: wheel.version };
}

const pluginIn = (folder: string): string => join(folder, 'xla_plugins', 'xla_cpu_pjrt', 'xla_cpu_pjrt.so');

/** `find_spec` locates top-level packages without running any of them; both are namespaces that several plugins may share. */
const locateScript = `
import importlib.util, json
places = []
for name in ("jax_plugins", "xla_plugins"):
    spec = importlib.util.find_spec(name)
    places += list(spec.submodule_search_locations or []) if spec else []
print(json.dumps(places))
`;

async function pythonPlugin(): Promise<XlaPlugin | { readonly reason: string }> {
  const found = await findPython(['-c', locateScript]);
  if ('reasons' in found) return { reason: `no Python was found to look for an XLA plugin in (${found.reasons.join('; ')})` };
  const plugins: string[] = [];
  try {
    for (const place of JSON.parse(found.result.stdout) as readonly string[]) {
      for (const folder of await readdir(place).catch(() => [])) {
        const files = await readdir(join(place, folder)).catch(() => []);
        plugins.push(...files.filter((file) => /(_plugin|_pjrt)\.(so|dylib|dll)$/.test(file)).map((file) => join(place, folder, file)));
      }
    }
  } catch {
    return { reason: `${found.python.command} did not answer where its XLA plugins are` };
  }
  const [best] = plugins.sort((a, b) => Number(/cpu/.test(a)) - Number(/cpu/.test(b)) || a.localeCompare(b));
  return best === undefined ? { reason: `${found.python.command} has no XLA plugin installed` } : { path: best, source: 'python', version: null };
}
