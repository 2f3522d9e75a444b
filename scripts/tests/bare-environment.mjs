// A machine on which nothing was fetched: empty caches, an empty home folder, no Python.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const isPython = (name) => /^(python|pypy|pip|pyenv|conda)/.test(name);

/**
 * Makes a folder with everything that such a machine has.
 *
 * @param node The Node.js program that is on its PATH
 * @returns the environment variables, the folder, and a function that removes the folder
 */
export function createBareEnvironment(node = process.execPath) {
  const folder = mkdtempSync(join(tmpdir(), 'whetstone-bare-'));
  const path = join(folder, 'bin');
  for (const name of ['bin', 'home', 'cache', 'npm-cache']) mkdirSync(join(folder, name));
  // Python often shares a folder with the shell. So PATH is one folder with links to everything but Python.
  symlinkSync(node, join(path, 'node'));
  const seen = new Set(['node']);
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    for (const name of namesIn(directory)) {
      if (seen.has(name) || isPython(name)) continue;
      seen.add(name);
      symlinkSync(join(directory, name), join(path, name));
    }
  }
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(WHETSTONE_|XDG_|npm_|PYENV|VIRTUAL_ENV)/i.test(name),
  );
  const env = {
    ...Object.fromEntries(inherited),
    PATH: path,
    HOME: join(folder, 'home'),
    WHETSTONE_CACHE: join(folder, 'cache'),
    npm_config_cache: join(folder, 'npm-cache'),
  };
  return { folder, env, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function namesIn(directory) {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
