import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startLocalRegistry } from './local-registry.js';

const run = promisify(execFile);
export const repository = fileURLToPath(new URL('../..', import.meta.url));

/** Folders of all workspace packages. */
async function workspaceFolders(): Promise<readonly string[]> {
  const packages = join(repository, 'packages');
  return (await readdir(packages))
    .map((name) => join(packages, name))
    .filter((folder) => existsSync(join(folder, 'package.json')));
}

const nameOf = async (folder: string): Promise<string> =>
  (JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { readonly name: string }).name;

/**
 * Creates an empty project and installs `whetstone` and the packages of `folders` into it, as a user would. npm gets
 * the packed packages, and what they depend on, from a registry on this machine. Neither a network nor npm's cache is
 * needed.
 */
export async function createScratchProject(folder: string, folders: readonly string[]): Promise<void> {
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
  const npm = (...parameters: readonly string[]): Promise<unknown> =>
    run('npm', [...parameters, '--ignore-scripts'], { cwd: folder, env, maxBuffer: 1 << 26 });

  await npm('pack', '--pack-destination', archives, ...(await workspaceFolders()), ...folders);
  const registry = await startLocalRegistry(
    repository,
    (await readdir(archives)).map((name) => join(archives, name)),
  );
  try {
    const names = await Promise.all(folders.map(nameOf));
    await npm('install', '--registry', registry.url, '--no-audit', '--no-fund', 'whetstone', ...names);
  } finally {
    await registry.close();
  }
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever its exit code. */
export async function execute(
  program: string,
  parameters: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<CommandResult> {
  try {
    const { stdout, stderr } = await run(program, parameters, { cwd, env, maxBuffer: 1 << 26 });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const {
      code,
      stdout = '',
      stderr = '',
    } = error as { readonly code?: unknown; readonly stdout?: string; readonly stderr?: string };
    if (typeof code !== 'number') throw error;
    return { code, stdout, stderr };
  }
}
