import { resolve } from 'node:path';
import { findPython } from './python.js';

/** Where a library was found: what comes first wins. */
export type LibrarySource = 'configuration' | 'environment' | 'cache' | 'python';

/** One kind of library, and how it is recognised in each place. */
export interface LibrarySearch {
  /** What a configuration names it by, in words. */
  readonly configured: string;
  /** The environment variable that names it. */
  readonly variable: string;
  /** What a path that was named must hold, in words. */
  readonly expected: string;
  /** The library that a named path means; null where it holds none. */
  named(path: string): Promise<string | null>;
  /** The installed library in the cache, or why there is none. */
  cached(
    cache: string,
  ): Promise<{ readonly path: string; readonly version: string | null } | { readonly reason: string }>;
  /** The library in folders of Python packages; null where they hold none. */
  inPackages(folders: readonly string[]): Promise<string | null>;
  /** Packages of a Python whose folders are looked through. */
  readonly packages: readonly string[];
  /** Names of what installs these packages: the first that is there tells the version. */
  readonly distributions: readonly string[];
  /** What a Python lacks, in words. */
  readonly missing: string;
}

export interface FoundLibrary {
  readonly path: string;
  readonly source: LibrarySource;
  readonly version: string | null;
}

/**
 * The one order in which libraries are looked for: configuration, environment, cache, then the packages of a Python on
 * the PATH (which are located, not imported). What was named but is not there ends the search: what was asked for is
 * not replaced.
 *
 * @returns the library, or the reasons why there is none
 */
export async function findLibrary(
  search: LibrarySearch,
  configured: string | null,
  cache: string,
): Promise<FoundLibrary | { readonly reasons: readonly string[] }> {
  const named: readonly [LibrarySource, string | null | undefined, string][] = [
    ['configuration', configured, search.configured],
    ['environment', process.env[search.variable], search.variable],
  ];
  for (const [source, given, title] of named) {
    if (!given) continue;
    const path = await search.named(resolve(given));
    return path === null
      ? { reasons: [`${title} names ${given}, ${search.expected}`] }
      : { path, source, version: null };
  }
  const cached = await search.cached(cache);
  if (!('reason' in cached)) return { ...cached, source: 'cache' };
  const installed = await inPython(search);
  return 'reason' in installed ? { reasons: [cached.reason, installed.reason] } : installed;
}

/**
 * `find_spec` locates top-level packages without running any of them; some are namespaces that several distributions
 * share.
 */
const locateScript = (packages: readonly string[], distributions: readonly string[]): string => `
import importlib.util, importlib.metadata, json
places = []
for name in json.loads('''${JSON.stringify(packages)}'''):
    spec = importlib.util.find_spec(name)
    places += list(spec.submodule_search_locations or []) if spec else []
version = None
for name in json.loads('''${JSON.stringify(distributions)}'''):
    try:
        version = importlib.metadata.version(name)
        break
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps({"places": places, "version": version}))
`;

async function inPython(search: LibrarySearch): Promise<FoundLibrary | { readonly reason: string }> {
  const found = await findPython(['-c', locateScript(search.packages, search.distributions)]);
  if ('reasons' in found)
    return { reason: `no Python was found to look for ${search.missing} in (${found.reasons.join('; ')})` };
  try {
    const { places, version } = JSON.parse(found.result.stdout) as {
      readonly places: readonly string[];
      readonly version: string | null;
    };
    const path = await search.inPackages(places);
    return path === null
      ? { reason: `${found.python.command} has no ${search.missing} installed` }
      : { path, source: 'python', version };
  } catch {
    return { reason: `${found.python.command} did not answer where its packages are` };
  }
}
