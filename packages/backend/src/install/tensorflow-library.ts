import { stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { cacheFolder } from './cache-folder.js';
import { installedFolder, installWheel, isInstalled } from './install-wheel.js';
import type { InstallOptions } from './progress.js';
import { findPython } from './python.js';
import { tensorflowCpuWheel, tensorflowCpuWheels } from './wheels.js';

/** A libtensorflow on this machine. */
export interface TensorflowLibrary {
  /** Folder that holds the libraries. */
  readonly folder: string;
  readonly source: 'configuration' | 'environment' | 'cache' | 'python';
  readonly version: string | null;
}

/** Files that tell a folder with a TensorFlow whose C API can be loaded, by platform. */
const libraryFiles: Readonly<Record<string, readonly string[]>> = {
  linux: ['libtensorflow_cc.so.2'],
  darwin: ['libtensorflow_cc.2.dylib'],
  win32: [join('python', '_pywrap_tensorflow_common.dll'), 'tensorflow_cc.2.dll'],
};

/**
 * Looks for libtensorflow: the configuration's folder, `WHETSTONE_TENSORFLOW_LIBRARY`, the cache, then the TensorFlow of a
 * Python on the PATH (which is not imported). A folder that was named but holds none ends the search: what was asked for is not replaced.
 * @returns the library, or the reasons why there is none
 */
export async function findTensorflow(configured: string | null = null, cache: string = cacheFolder()): Promise<TensorflowLibrary | { readonly reasons: readonly string[] }> {
  const named: [TensorflowLibrary['source'], string | null | undefined, string][] = [
    ['configuration', configured, 'the configured library'],
    ['environment', process.env['WHETSTONE_TENSORFLOW_LIBRARY'], 'WHETSTONE_TENSORFLOW_LIBRARY'],
  ];
  for (const [source, path, title] of named) {
    if (!path) continue;
    const folder = await libraryFolder(resolve(path));
    if (folder !== null) return { folder, source, version: null };
    return { reasons: [`${title} names ${path}, which holds no ${expectedFiles().join(' or ')}`] };
  }
  const wheel = tensorflowCpuWheels[`${process.platform}-${process.arch}`];
  const reasons: string[] = [];
  if (wheel === undefined) reasons.push(`no libtensorflow is published for ${process.platform}-${process.arch}`);
  else if (await isInstalled(wheel, cache)) return { folder: join(installedFolder(wheel, cache), 'tensorflow'), source: 'cache', version: wheel.version };
  else reasons.push('libtensorflow is not in the cache (fetch it with `whetstone backend install cpu`)');
  const installed = await pythonTensorflow();
  if ('reason' in installed) reasons.push(installed.reason);
  else return installed;
  return { reasons };
}

/** Puts libtensorflow for this machine into the cache. */
export async function installTensorflow(options: InstallOptions = {}): Promise<TensorflowLibrary> {
  const wheel = tensorflowCpuWheel();
  const folder = await installWheel(wheel, options);
  return { folder: join(folder, 'tensorflow'), source: 'cache', version: wheel.version };
}

function expectedFiles(): readonly string[] {
  return libraryFiles[process.platform] ?? libraryFiles['linux'] ?? [];
}

/** The folder itself, a `tensorflow` folder in it, or the folder of a library file; null where there is no library. */
async function libraryFolder(path: string): Promise<string | null> {
  for (const folder of [path, join(path, 'tensorflow'), dirname(path)]) {
    for (const file of expectedFiles()) if (await stat(join(folder, file)).then((found) => found.isFile(), () => false)) return folder;
  }
  return null;
}

/** `find_spec` locates a top-level package without running any of it. */
const locateScript = `
import importlib.util, importlib.metadata, json
spec = importlib.util.find_spec("tensorflow")
places = list(spec.submodule_search_locations or []) if spec else []
version = None
for name in ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos", "tensorflow-rocm"):
    try:
        version = importlib.metadata.version(name)
        break
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps({"places": places, "version": version}))
`;

async function pythonTensorflow(): Promise<TensorflowLibrary | { readonly reason: string }> {
  const found = await findPython(['-c', locateScript]);
  if ('reasons' in found) return { reason: `no Python was found to look for a TensorFlow in (${found.reasons.join('; ')})` };
  try {
    const { places, version } = JSON.parse(found.result.stdout) as { places: readonly string[]; version: string | null };
    for (const place of places) {
      const folder = await libraryFolder(place);
      if (folder !== null) return { folder, source: 'python', version };
    }
  } catch {
    return { reason: `${found.python.command} did not answer where its TensorFlow is` };
  }
  return { reason: `${found.python.command} has no TensorFlow installed` };
}
