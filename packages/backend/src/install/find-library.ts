import { resolve } from 'node:path';
import { findPython } from './python.js';

/** Source of a library. Sources are searched in this order. */
export type LibrarySource = 'configuration' | 'environment' | 'cache' | 'python';

/** Describes one kind of library and finds it in each source. */
export interface LibrarySearch {
  /** The configured library, in messages. */
  readonly configured: string;
  /** Environment variable with the library's path. */
  readonly variable: string;
  /** What is wrong with a configured path without the library, in messages. */
  readonly invalid: string;
  /** Returns the library at a configured path, or null. */
  atPath(path: string): Promise<string | null>;
  /** Returns the installed library in the cache, or the reason why there is none. */
  inCache(
    cache: string,
  ): Promise<{ readonly path: string; readonly version: string | null } | { readonly reason: string }>;
  /** Returns the library in folders of Python packages, or null. */
  inPackages(folders: readonly string[]): Promise<string | null>;
  /** Python packages whose folders are searched. */
  readonly packages: readonly string[];
  /** Distributions of these packages. The first that is installed provides the version. */
  readonly distributions: readonly string[];
  /** The library in Python, in messages. */
  readonly title: string;
}

export interface FoundLibrary {
  readonly path: string;
  readonly source: LibrarySource;
  readonly version: string | null;
}

/**
 * Searches for a library in the configuration, the environment, the cache, and the packages of a Python on the PATH,
 * which are located but not imported. A configured library that does not exist ends the search: no other replaces it.
 *
 * @returns the library, or the reasons why none was found
 */
export async function findLibrary(
  search: LibrarySearch,
  configured: string | null,
  cache: string,
): Promise<FoundLibrary | { readonly reasons: readonly string[] }> {
  const configuredPaths: readonly [LibrarySource, string | null | undefined, string][] = [
    ['configuration', configured, search.configured],
    ['environment', process.env[search.variable], search.variable],
  ];
  for (const [source, configuredPath, title] of configuredPaths) {
    if (!configuredPath) continue;
    const path = await search.atPath(resolve(configuredPath));
    return path === null
      ? { reasons: [`${title} is ${configuredPath}, ${search.invalid}`] }
      : { path, source, version: null };
  }
  const cached = await search.inCache(cache);
  if (!('reason' in cached)) return { ...cached, source: 'cache' };
  const installed = await inPython(search);
  return 'reason' in installed ? { reasons: [cached.reason, installed.reason] } : installed;
}

/**
 * Returns a Python script that locates packages and their version. `find_spec` does not import a top-level package. A
 * namespace package, which several distributions share, has several folders.
 */
const locateScript = (packages: readonly string[], distributions: readonly string[]): string => `
import importlib.util, importlib.metadata, json
folders = []
for name in json.loads('''${JSON.stringify(packages)}'''):
    spec = importlib.util.find_spec(name)
    folders += list(spec.submodule_search_locations or []) if spec else []
version = None
for name in json.loads('''${JSON.stringify(distributions)}'''):
    try:
        version = importlib.metadata.version(name)
        break
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps({"folders": folders, "version": version}))
`;

async function inPython(search: LibrarySearch): Promise<FoundLibrary | { readonly reason: string }> {
  const found = await findPython(['-c', locateScript(search.packages, search.distributions)]);
  if ('reasons' in found)
    return { reason: `no Python was found that may contain ${search.title} (${found.reasons.join('; ')})` };
  try {
    const { folders, version } = JSON.parse(found.result.stdout) as {
      readonly folders: readonly string[];
      readonly version: string | null;
    };
    const path = await search.inPackages(folders);
    return path === null
      ? { reason: `${found.python.command} has no ${search.title} installed` }
      : { path, source: 'python', version };
  } catch {
    return { reason: `${found.python.command} did not report the folders of its packages` };
  }
}
