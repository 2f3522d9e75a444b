import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { execute, repository } from './support/execute.js';
import { temporaryFolder } from './support/temporary-folder.js';

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const manifestOf = async (folder: string) =>
  JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest;

/** The manifests of all packages, by folder. */
async function packagesOf(root: string): Promise<ReadonlyMap<string, Manifest>> {
  const names = await readdir(join(root, 'packages'));
  return new Map(
    await Promise.all(names.map(async (name) => [name, await manifestOf(join(root, 'packages', name))] as const)),
  );
}

/** A git repository with the manifests of this one and what a release needs. */
async function scratchRepository(): Promise<string> {
  const root = await temporaryFolder();
  for (const name of [
    'package.json',
    'package-lock.json',
    'CHANGELOG.md',
    '.changeset/config.json',
    'scripts/version.mjs',
  ])
    await cp(join(repository, name), join(root, name));
  for (const name of (await packagesOf(repository)).keys()) {
    await mkdir(join(root, 'packages', name), { recursive: true });
    await cp(join(repository, 'packages', name, 'package.json'), join(root, 'packages', name, 'package.json'));
  }
  await symlink(join(repository, 'node_modules'), join(root, 'node_modules'), 'junction');
  const git = async (...parameters: string[]) => {
    const identity = ['-c', 'user.name=Test', '-c', 'user.email=test@example.com'];
    expect(await execute('git', [...identity, ...parameters], root)).toMatchObject({ code: 0 });
  };
  await git('init', '--initial-branch=main');
  await git('add', 'package.json', 'packages', '.changeset', 'CHANGELOG.md', 'scripts');
  await git('commit', '--message=start');
  return root;
}

const changeset = (type: string, text: string) => `---\n'@whetstone/core': ${type}\n---\n\n${text}\n`;

describe('scripts/version.mjs', () => {
  it('gives all packages the next version and moves the changesets into the changelog', async () => {
    const root = await scratchRepository();
    const { version: before } = await manifestOf(join(repository, 'packages/core'));
    const [major = 0, minor = 0] = before.split('.').map(Number);
    const next = `${major}.${minor + 1}.0`;
    await writeFile(join(root, '.changeset/one.md'), changeset('patch', 'Fix a thing.'));
    await writeFile(join(root, '.changeset/two.md'), changeset('minor', 'Add a thing.\n\nIt has a second line.'));

    const { code, stderr } = await execute(process.execPath, ['scripts/version.mjs'], root);
    expect(code, stderr).toBe(0);

    const packages = [...(await packagesOf(root)).values()];
    expect(new Set(packages.map(({ version }) => version))).toEqual(new Set([next]));
    const own = packages.flatMap(({ dependencies = {} }) =>
      Object.entries(dependencies).filter(([name]) => name.startsWith('@whetstone/')),
    );
    expect(own.length).toBeGreaterThan(10);
    expect(new Set(own.map(([, range]) => range))).toEqual(new Set([next]));

    const changelog = await readFile(join(root, 'CHANGELOG.md'), 'utf8');
    const changes = '### Changes\n\n- Add a thing.\n\n  It has a second line.\n\n';
    const entry = `## ${next}\n\n${changes}### Fixes\n\n- Fix a thing.\n\n`;
    const [introduction] = (await readFile(join(repository, 'CHANGELOG.md'), 'utf8')).split(/^(?=## )/m);
    expect(changelog.startsWith(`${introduction}${entry}## `)).toBe(true);
    expect((await readdir(join(root, '.changeset'))).toSorted()).toEqual(['config.json']);
    expect(await readdir(join(root, 'packages/core'))).toEqual(['package.json']);
  }, 120_000);

  it('fails without a changeset', async () => {
    const { code, stderr } = await execute(process.execPath, ['scripts/version.mjs'], await scratchRepository());
    expect(code).toBe(1);
    expect(stderr).toContain('No changeset was found');
  }, 120_000);
});

describe('scripts/publish-check.mjs', () => {
  const check = (root: string) => execute(process.execPath, ['scripts/publish-check.mjs', root], repository);

  /** A repository with packages of these files. */
  async function repositoryOf(packages: Readonly<Record<string, Readonly<Record<string, string>>>>): Promise<string> {
    const root = await temporaryFolder();
    const write = async (file: string, text: string) => {
      await mkdir(dirname(join(root, file)), { recursive: true });
      await writeFile(join(root, file), text);
    };
    await write('package.json', JSON.stringify({ name: 'small', private: true, workspaces: ['packages/*'] }));
    for (const [name, files] of Object.entries(packages))
      for (const [file, text] of Object.entries(files)) await write(join('packages', name, file), text);
    return root;
  }

  const manifest = {
    name: 'one',
    version: '1.0.0',
    description: 'A package.',
    files: ['dist'],
    exports: { '.': { types: './dist/index.d.ts', default: './dist/index.js' } },
  };
  const whole = {
    'package.json': JSON.stringify(manifest),
    'README.md': '# One',
    LICENSE: 'MIT',
    'dist/index.js': 'export const one = 1;',
    'dist/index.d.ts': 'export declare const one = 1;',
  };

  it('lists the files of the packages of this repository and finds nothing wrong', async () => {
    const { code, stdout, stderr } = await check(repository);
    expect(code, stderr).toBe(0);
    for (const { name, version } of (await packagesOf(repository)).values())
      expect(stdout).toMatch(new RegExp(`^${name} ${version}: \\d+ files`, 'm'));
    expect(stdout).toMatch(/^ +\d+ {2}dist\/index\.js$/m);
  }, 60_000);

  it('accepts a whole package', async () => {
    expect(await check(await repositoryOf({ one: whole }))).toMatchObject({ code: 0, stderr: '' });
  });

  it.each([
    ['without a README', { 'README.md': undefined }, 'README.md is missing'],
    ['without a licence', { LICENSE: undefined }, 'LICENSE is missing'],
    ['without the file of an export', { 'dist/index.js': undefined }, 'exports["."].default names ./dist/index.js'],
    ['without its types', { 'dist/index.d.ts': undefined }, 'exports["."].types names ./dist/index.d.ts'],
    [
      'that names no types',
      { 'package.json': JSON.stringify({ ...manifest, exports: { '.': './dist/index.js' } }) },
      'exports["."] has no "types"',
    ],
    ['with a test', { 'dist/index.test.js': '' }, 'dist/index.test.js is published, but belongs to the tests'],
    ['with a state of the compiler', { 'dist/a.tsbuildinfo': '' }, 'dist/a.tsbuildinfo is published'],
    [
      'with a source',
      { 'package.json': JSON.stringify({ ...manifest, files: ['dist', 'src'] }), 'src/index.ts': '' },
      'src/index.ts is published, but only dist',
    ],
    [
      'with a missing source map',
      { 'dist/index.js': '//# sourceMappingURL=index.js.map\n' },
      'index.js.map, which is not',
    ],
    [
      'with a source map of a source outside',
      { 'dist/index.js.map': JSON.stringify({ sources: ['../src/index.ts'] }) },
      'points to ../src/index.ts',
    ],
    ['that is private', { 'package.json': JSON.stringify({ ...manifest, private: true }) }, 'npm would not publish it'],
  ])('fails for a package %s', async (_, changes: Readonly<Record<string, string | undefined>>, message) => {
    const files = Object.entries({ ...whole, ...changes }).filter(
      (file): file is [string, string] => file[1] !== undefined,
    );
    const { code, stderr } = await check(await repositoryOf({ one: Object.fromEntries(files) }));
    expect(stderr).toContain(`FAILED: one: `);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
  });

  it('fails for a package that depends on another version of a package of the repository', async () => {
    const two = JSON.stringify({ ...manifest, name: 'two', dependencies: { one: '0.9.0' } });
    const { code, stderr } = await check(await repositoryOf({ one: whole, two: { ...whole, 'package.json': two } }));
    expect(stderr).toBe('FAILED: two: dependencies["one"] is 0.9.0, expected 1.0.0. Run npm run release:version.\n');
    expect(code).toBe(1);
  });
});
