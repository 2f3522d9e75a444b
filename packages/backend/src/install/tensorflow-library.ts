import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheFolder } from './cache-folder.js';
import { findLibrary, type LibrarySearch, type LibrarySource } from './find-library.js';
import { absence, installedFolder, installWheel, isInstalled } from './install-wheel.js';
import type { InstallOptions } from './progress.js';
import { tensorflowCpuWheel, tensorflowCpuWheels } from './wheels.js';

/** A libtensorflow on this machine. */
export interface TensorflowLibrary {
  /** Folder that contains the libraries. */
  readonly folder: string;
  readonly source: LibrarySource;
  readonly version: string | null;
}

/** Files by which a folder with a loadable TensorFlow C API is recognized, by platform. */
const libraryFiles: Readonly<Record<string, readonly string[]>> = {
  linux: ['libtensorflow_cc.so.2'],
  darwin: ['libtensorflow_cc.2.dylib'],
  win32: [join('python', '_pywrap_tensorflow_common.dll'), 'tensorflow_cc.2.dll'],
};

const expectedFiles = (): readonly string[] => libraryFiles[process.platform] ?? libraryFiles['linux'] ?? [];

/** Returns the folder with the library: `path`, `tensorflow` in it, or the folder of the file `path`; else null. */
async function libraryFolder(path: string): Promise<string | null> {
  for (const folder of [path, join(path, 'tensorflow'), dirname(path)]) {
    for (const file of expectedFiles())
      if (
        await stat(join(folder, file)).then(
          (found) => found.isFile(),
          () => false,
        )
      )
        return folder;
  }
  return null;
}

const search: LibrarySearch = {
  configured: 'the configured library',
  variable: 'WHETSTONE_TENSORFLOW_LIBRARY',
  invalid: `which does not contain ${expectedFiles().join(' or ')}`,
  atPath: libraryFolder,
  inCache: async (cache) => {
    const wheel = tensorflowCpuWheels[`${process.platform}-${process.arch}`];
    if (wheel === undefined) return { reason: `no libtensorflow is published for ${process.platform}-${process.arch}` };
    if (await isInstalled(wheel, cache))
      return { path: join(installedFolder(wheel, cache), 'tensorflow'), version: wheel.version };
    const state = await absence(wheel, cache);
    return { reason: `libtensorflow ${state} (fetch it with \`npx @whetstone/backend install cpu\`)` };
  },
  packages: ['tensorflow'],
  distributions: ['tensorflow', 'tensorflow-cpu', 'tensorflow-intel', 'tensorflow-macos', 'tensorflow-rocm'],
  inPackages: async (folders) => {
    for (const folder of folders) {
      const found = await libraryFolder(folder);
      if (found !== null) return found;
    }
    return null;
  },
  title: 'TensorFlow',
};

/**
 * Searches for libtensorflow: in the configured folder, `WHETSTONE_TENSORFLOW_LIBRARY`, the cache, and Python's
 * `tensorflow`, in this order.
 *
 * @returns the library, or the reasons why none was found
 */
export async function findTensorflow(
  configured: string | null = null,
  cache: string = cacheFolder(),
): Promise<TensorflowLibrary | { readonly reasons: readonly string[] }> {
  const found = await findLibrary(search, configured, cache);
  return 'reasons' in found ? found : { folder: found.path, source: found.source, version: found.version };
}

/** Installs libtensorflow for this machine in the cache. */
export async function installTensorflow(options: InstallOptions = {}): Promise<TensorflowLibrary> {
  const wheel = tensorflowCpuWheel();
  const folder = await installWheel(wheel, options);
  return { folder: join(folder, 'tensorflow'), source: 'cache', version: wheel.version };
}
