import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pluginList from '@whetstone/plugins';
import strategyList from '@whetstone/strategies';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);
const packages = ['backend', 'cli', 'core', 'data', 'evaluation', 'models', 'plugins', 'strategies', 'testing'];

interface Tarball {
  readonly name: string;
  readonly files: readonly { readonly path: string }[];
}

interface Manifest {
  readonly name: string;
  readonly description?: string;
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
}

const manifestOf = async (folder: string): Promise<Manifest> =>
  JSON.parse(await readFile(join(root, 'packages', folder, 'package.json'), 'utf8')) as Manifest;

describe('what is published', () => {
  let tarballs: readonly Tarball[];
  beforeAll(async () => {
    const { stdout } = await run('npm', ['pack', '--workspaces', '--dry-run', '--json'], {
      cwd: root,
      maxBuffer: 2 ** 26,
      shell: process.platform === 'win32',
    });
    // A list in some versions of npm, an object by names in others.
    tarballs = Object.values(JSON.parse(stdout) as Record<string, Tarball>);
  }, 60_000);

  test.each(packages)(
    '%s: what its imports and commands name, a README and the licence, and no tests',
    async (folder) => {
      const { name, description, bin = {}, exports } = await manifestOf(folder);
      const paths = tarballs.find((tarball) => tarball.name === name)?.files.map(({ path }) => path) ?? [];
      const named = [
        ...Object.values(exports).flatMap((target) => (typeof target === 'string' ? [target] : Object.values(target))),
        ...Object.values(bin),
      ];
      expect(paths).toEqual(
        expect.arrayContaining([
          'README.md',
          'LICENSE',
          'package.json',
          ...named.map((path) => path.replace(/^\.\//, '')),
        ]),
      );
      expect(
        paths.filter((path) => /\.test[.-]|(^|\/)(testing|tsbuildinfo|test-support)|tfjs-suite/.test(path)),
      ).toEqual([]);
      expect(description).toMatch(/\.$/);
    },
  );
});

describe('READMEs of packages', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whetstone-packages-'));
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const blocksOf = async (name: string, language: string): Promise<string[]> => {
    const text = await readFile(join(root, 'packages', name, 'README.md'), 'utf8');
    return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
      (match) => match[1] ?? '',
    );
  };

  // What a comment says of a line that prints is what it prints.
  test.each(['core', 'data', 'evaluation', 'models'])(
    'the program of %s runs and prints what it says',
    async (name) => {
      const [program = ''] = await blocksOf(name, 'js');
      expect(program).toContain(`'@whetstone/${name}`);
      await writeFile(join(folder, `${name}.mjs`), program);
      const { stdout } = await run(process.execPath, [join(folder, `${name}.mjs`)], { cwd: folder });
      const said = [...program.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
      if (said.length > 0) expect(stdout.trim().split('\n')).toEqual(said);
    },
    60_000,
  );

  test.each([
    ['plugins', pluginList],
    ['strategies', strategyList],
  ])('the configuration of %s names what the package has', async (name, own) => {
    const [block = '{}'] = await blocksOf(name, 'json');
    const used = Object.values(JSON.parse(block) as Record<string, unknown>)
      .flat()
      .map((use) => (typeof use === 'string' ? use : (use as { readonly use: string }).use));
    expect(used.length).toBeGreaterThan(0);
    expect(own.map((plugin) => plugin.name)).toEqual(expect.arrayContaining(used));
  });
});
