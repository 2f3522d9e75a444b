// An empty project, and npm that installs the packed packages of this repository into it, as a user would.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startLocalRegistry } from './local-registry.mjs';
import { repository } from './report.mjs';

const run = promisify(execFile);

/** Folders of all packages that are published. */
export async function packageFolders() {
  const packages = join(repository, 'packages');
  return (await readdir(packages))
    .map((name) => join(packages, name))
    .filter((folder) => existsSync(join(folder, 'package.json')));
}

/**
 * Creates an empty project, packs the packages and serves them, and what they depend on, from a registry on this
 * machine. Neither a network nor npm's cache is needed. Scripts of packages do not run.
 *
 * @param {string} folder
 * @param {readonly string[]} [extraFolders] Folders of further packages
 * @returns {Promise<{
 *   install(...names: string[]): Promise<unknown>;
 *   npm(parameters: readonly string[], cwd?: string): Promise<{ stdout: string; stderr: string }>;
 *   close(): Promise<void>;
 * }>}
 */
export async function openScratchProject(folder, extraFolders = []) {
  const archives = join(folder, 'archives');
  await mkdir(archives, { recursive: true });
  await writeFile(
    join(folder, 'package.json'),
    JSON.stringify({ name: 'scratch', version: '1.0.0', private: true, type: 'module' }),
  );
  // No setting of this machine takes part: neither of a user's file nor of the npm that runs the tests.
  const env = {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name))),
    npm_config_cache: join(folder, 'npm-cache'),
    npm_config_userconfig: join(folder, 'no-npmrc'),
    npm_config_noproxy: '127.0.0.1',
    npm_config_update_notifier: 'false',
  };
  const npm = ([command, ...parameters], cwd = folder) =>
    run('npm', [command, '--ignore-scripts', ...parameters], { cwd, env, maxBuffer: 1 << 26 });

  await npm(['pack', '--pack-destination', archives, ...(await packageFolders()), ...extraFolders]);
  const registry = await startLocalRegistry(
    repository,
    (await readdir(archives)).map((name) => join(archives, name)),
  );
  return {
    install: (...names) =>
      npm(['install', '--registry', registry.url, '--omit=dev', '--no-audit', '--no-fund', ...names]),
    npm: ([command, ...parameters], cwd) => npm([command, '--registry', registry.url, ...parameters], cwd),
    close: () => registry.close(),
  };
}

/**
 * Creates an empty project and installs `whetstone` and the packages of `folders` into it.
 *
 * @param {string} folder
 * @param {readonly string[]} folders
 */
export async function createScratchProject(folder, folders) {
  const project = await openScratchProject(folder, folders);
  try {
    const names = folders.map(
      async (packageFolder) => JSON.parse(await readFile(join(packageFolder, 'package.json'), 'utf8')).name,
    );
    await project.install('whetstone', ...(await Promise.all(names)));
  } finally {
    await project.close();
  }
}
