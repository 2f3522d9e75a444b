import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
export const repository = fileURLToPath(new URL('../..', import.meta.url));

interface LockEntry {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly link?: boolean;
  readonly resolved?: string;
}

/** Packs packages with `npm pack`; answers the paths of the archives. */
async function pack(into: string, folders: readonly string[]): Promise<readonly string[]> {
  await mkdir(into, { recursive: true });
  for (const folder of folders)
    await run('npm', ['pack', '--ignore-scripts', '--pack-destination', into], { cwd: folder });
  return (await readdir(into)).filter((name) => name.endsWith('.tgz')).map((name) => join(into, name));
}

/**
 * What a package needs at run time: its own workspace packages, and folders of the repository's node_modules, by
 * package-lock.json.
 */
async function runtimeOf(
  packageName: string,
): Promise<{ readonly workspaces: readonly string[]; readonly modules: readonly string[] }> {
  const lock = JSON.parse(await readFile(join(repository, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, LockEntry>>;
  };
  const found = new Set<string>();
  const visit = (name: string, from: string): void => {
    const own = `${from === '' ? '' : `${from}/`}node_modules/${name}`;
    const entry = lock.packages[own];
    if (entry === undefined) {
      if (from !== '')
        visit(
          name,
          from.includes('node_modules/') ? from.slice(0, Math.max(0, from.lastIndexOf('node_modules/') - 1)) : '',
        );
      return;
    }
    const path = entry.link === true ? (entry.resolved ?? '') : own;
    if (found.has(path) || !existsSync(join(repository, path))) return;
    found.add(path);
    const { dependencies, optionalDependencies, peerDependencies } = lock.packages[path] ?? {};
    for (const needed of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }))
      visit(needed, path);
  };
  visit(packageName, '');
  const isModule = (path: string) => path.includes('node_modules/');
  return { workspaces: [...found].filter((path) => !isModule(path)), modules: [...found].filter(isModule) };
}

/**
 * An empty project into which `whetstone`, its packages and those of `folders` are installed from their packed
 * archives, as a user would install them. What they depend on is copied from the repository's own node_modules first,
 * so that npm finds it there and needs no network.
 */
export async function createScratchProject(folder: string, folders: readonly string[]): Promise<void> {
  const { workspaces, modules } = await runtimeOf('whetstone');
  const archives = await pack(join(folder, 'archives'), [
    ...workspaces.map((path) => join(repository, path)),
    ...folders,
  ]);
  await writeFile(
    join(folder, 'package.json'),
    JSON.stringify({ name: 'scratch', version: '1.0.0', private: true, type: 'module' }),
  );
  for (const path of modules) await cp(join(repository, path), join(folder, path), { recursive: true });
  // With their commands, or npm would install those that have some again.
  await cp(join(repository, 'node_modules/.bin'), join(folder, 'node_modules/.bin'), {
    recursive: true,
    verbatimSymlinks: true,
  });
  await run(
    'npm',
    ['install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts', '--no-package-lock', ...archives],
    { cwd: folder, maxBuffer: 1 << 26 },
  );
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
