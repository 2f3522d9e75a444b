import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { execute, repository } from './support/scratch-project.js';
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
    expect(stderr).toContain('There is no changeset');
  }, 120_000);
});
