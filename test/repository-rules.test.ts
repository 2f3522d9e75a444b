import { stripVTControlCharacters } from 'node:util';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { execute, repository, type CommandResult } from './support/execute.js';
import { temporaryFolder } from './support/temporary-folder.js';

// Each rule of `npm run lint` that the repository adds or configures, on a small repository that breaks it.

/** Writes a repository with the packages `@whetstone/core` and `whetstone`, and these files. */
async function repositoryOf(files: Readonly<Record<string, string>>): Promise<string> {
  const root = await temporaryFolder();
  const packageOf = (name: string, exported: string) =>
    JSON.stringify({
      name,
      version: '1.0.0',
      type: 'module',
      exports: { [exported]: { default: `./dist/${exported === '.' ? '' : `${exported}/`}index.js` } },
    });
  const tsconfig = JSON.stringify({ compilerOptions: { rootDir: 'src', outDir: 'dist' }, include: ['src'] });
  const all = {
    'package.json': JSON.stringify({ name: 'small', private: true, type: 'module', workspaces: ['packages/*'] }),
    'packages/core/tsconfig.json': tsconfig,
    'packages/cli/tsconfig.json': tsconfig,
    'packages/core/package.json': packageOf('@whetstone/core', './contract'),
    'packages/cli/package.json': packageOf('whetstone', '.'),
    ...files,
  };
  for (const [name, text] of Object.entries(all)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  return root;
}

const node = (script: string, ...parameters: readonly string[]): Promise<CommandResult> =>
  execute(process.execPath, [join(repository, script), ...parameters], repository);

describe('npm run lint:imports', () => {
  const check = async (files: Readonly<Record<string, string>>): Promise<CommandResult> =>
    node('scripts/check-imports.mjs', await repositoryOf(files));

  it('passes where every folder imports what it may', async () => {
    const result = await check({
      'packages/core/src/contract/index.ts': 'export const one = 1;',
      'packages/core/src/training/step.ts': "import { one } from '../contract/index.js';\nexport const two = 2 * one;",
      'packages/cli/src/index.ts': "export { one } from '@whetstone/core/contract';",
    });
    expect(result).toMatchObject({ code: 0, stderr: '' });
  });

  it('fails for an import against the table, and says what the folder may import', async () => {
    const result = await check({
      'packages/core/src/contract/index.ts': 'export const one = 1;',
      'packages/core/src/trainer/run.ts': 'export type Run = number;',
      'packages/core/src/training/step.ts':
        "// A step.\nimport type { Run } from '../trainer/run.js';\nexport type Step = Run;",
    });
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('packages/core/src/training/step.ts:2: core/training may not import core/trainer');
    expect(result.stderr).toMatch(/it may import core\/contract, .*Move what both need/);
  });

  it('fails for a package that imports another against the table, and not for its tests', async () => {
    const imports = "import { main } from 'whetstone';\nexport const twice = [main, main];";
    const files = {
      'packages/cli/src/index.ts': 'export const main = 1;',
      'packages/core/src/hooks/own.test.ts': imports,
    };
    expect(await check(files)).toMatchObject({ code: 0, stderr: '' });
    const result = await check({ ...files, 'packages/core/src/hooks/own.ts': imports });
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/^packages\/core\/src\/hooks\/own\.ts:1: core\/hooks may not import cli;/);
  });

  it('fails for a file of another package that is imported by its path', async () => {
    const result = await check({
      'packages/core/src/contract/index.ts': 'export const one = 1;',
      'packages/cli/src/index.ts': "export { one } from '../../core/src/contract/index.js';",
    });
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/packages\/cli\/src\/index\.ts:1: .*Import it by the package's name\./);
  });

  it('fails for a new folder of core without a row in the table', async () => {
    const result = await check({
      'packages/core/src/contract/index.ts': 'export const one = 1;',
      'packages/core/src/brand-new/a.ts': "export { one } from '../contract/index.js';",
    });
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('core/brand-new has no row in scripts/import-rules.mjs. Add one');
  });

  it.each([
    ['static imports', "import { b } from './b.js';\nexport const a = () => b;"],
    ['type imports', "import type { b } from './b.js';\nexport const a = (value: typeof b) => value;"],
    ['dynamic imports', "export const a = () => import('./b.js');"],
    ['re-exports', "export { b } from './b.js';\nexport const a = 1;"],
    ['imports of the package by its own name', "import { b } from 'whetstone';\nexport const a = () => b;"],
  ])('fails for a cycle through %s', async (_kind, source) => {
    const result = await check({
      'packages/cli/src/a.ts': source,
      'packages/cli/src/b.ts': "import { a } from './a.js';\nexport const b = () => a;",
      'packages/cli/src/index.ts': "export { b } from './b.js';",
    });
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/^Import cycle: packages\/cli\/src\/(\w+\.ts) → .*packages\/cli\/src\/\1\. Move/);
    expect(result.stderr).toContain('packages/cli/src/a.ts');
  });
});

describe('npm run lint:exports', () => {
  const check = async (files: Readonly<Record<string, string>>, ...more: string[]): Promise<CommandResult> => {
    const root = await repositoryOf(files);
    await mkdir(join(root, 'node_modules/@whetstone'), { recursive: true });
    await symlink(join(root, 'packages/core'), join(root, 'node_modules/@whetstone/core'));
    const options = [
      '--directory',
      root,
      '--config',
      join(repository, 'knip.ts'),
      '--no-config-hints',
      '--no-progress',
    ];
    const reporters = ['--reporter', 'symbols', '--reporter', join(repository, 'scripts/explain-unused.mjs')];
    return node('node_modules/knip/bin/knip.js', ...options, ...reporters, ...more);
  };

  it('fails for an unused export, type, file and dependency, and says what to do about each', async () => {
    const result = await check({
      'packages/core/src/contract/index.ts': "export { used } from './used.js';",
      'packages/core/src/contract/used.ts': 'export const used = 1;\nexport const unused = 2;\nexport type Unused = 3;',
      'packages/core/src/forgotten.ts': 'export const forgotten = 1;',
      'packages/cli/package.json': JSON.stringify({
        name: 'whetstone',
        type: 'module',
        exports: { '.': { default: './dist/index.js' } },
        dependencies: { '@whetstone/core': '1.0.0', tinyglobby: '1.0.0' },
      }),
      'packages/cli/src/index.ts': "export { used } from '@whetstone/core/contract';",
    });
    expect(result.code).toBe(1);
    expect(result.stdout).toMatch(/^unused .*packages\/core\/src\/contract\/used\.ts:2/m);
    expect(result.stdout).toMatch(/^Unused .*packages\/core\/src\/contract\/used\.ts:3/m);
    expect(result.stdout).toMatch(/^packages\/core\/src\/forgotten\.ts/m);
    expect(result.stdout).toMatch(/^tinyglobby .*packages\/cli\/package\.json/m);
    expect(result.stderr).toContain('Unused export: remove `export`, or delete the declaration');
    expect(result.stderr).toContain('Unused exported type: remove `export`');
    expect(result.stderr).toContain('Unused file: delete it');
    expect(result.stderr).toContain('Unused dependency: remove it from package.json.');
  });

  it('fails for an export that only tests use, unless its own file uses it', async () => {
    const result = await check(
      {
        'packages/core/src/contract/index.ts': "export { used } from './used.js';",
        'packages/core/src/contract/used.ts':
          'export const factor = 2;\nexport const used = factor;\nexport const onlyTested = 3;',
        'packages/core/src/contract/used.test.ts':
          "import { factor, onlyTested } from './used.js';\nfactor + onlyTested;",
        'packages/cli/src/index.ts': "export { used } from '@whetstone/core/contract';",
      },
      '--production',
    );
    expect(result.code).toBe(1);
    expect(result.stdout).toMatch(/^onlyTested .*packages\/core\/src\/contract\/used\.ts:3/m);
    expect(result.stdout).not.toMatch(/^factor /m);
  });
});

describe('oxlint', () => {
  it('fails for `any`, and says what to write in its place', async () => {
    const root = await repositoryOf({ 'packages/core/src/a.ts': 'export const a = (value: any): number => value;' });
    const result = await execute(
      join(repository, 'node_modules/.bin/oxlint'),
      ['--config', join(repository, '.oxlintrc.json'), '--deny-warnings', root],
      root,
    );
    expect(result.code).toBe(1);
    // oxlint writes colours if the variable CI is set.
    const output = stripVTControlCharacters(result.stdout);
    expect(output).toMatch(/no-explicit-any[\s\S]*a\.ts:1[\s\S]*help: Use `unknown` instead/);
  });
});

describe('the lint rule for conventions', () => {
  const lint = async (line: string): Promise<CommandResult> => {
    const folder = await temporaryFolder();
    const [file, config] = [join(folder, 'file.ts'), join(folder, 'oxlint.json')];
    await writeFile(file, `${line}\n`);
    const jsPlugins = [join(repository, 'scripts/oxlint-plugin.mjs')];
    await writeFile(config, JSON.stringify({ jsPlugins, rules: { 'whetstone/convention': 'error' } }));
    const options = ['--deny-warnings', '--format=unix', '--config', config];
    return node('node_modules/oxlint/bin/oxlint', ...options, file);
  };

  it.each([
    ['export function next(state: { count: number }) { state.count += 1; }', 'Write `count++`, not `count += 1`.'],
    ['export function last(state: { count: number }) { state.count -= 1; }', 'Write `count--`, not `count -= 1`.'],
    ['export function next(counts: number[]) { counts[0]! += 1 }', 'Write `count++`'],
    ['export const next = (state: { count: number }) => void (state.count += 1);', 'Write `count++`'],
    ['for (let n = 0, m = 0; n < 9; n++, m += 1) globalThis.f(n, m);', 'Write `count++`'],
    ['for (let n = 9; (n -= 1); ) globalThis.f(n);', 'Write `--count`, not `count -= 1`.'],
    ['export const next = (state: { count: number }) => (state.count += 1);', 'Write `++count`, not `count += 1`.'],
    ['export const next = (state: { count: number }) => `run-${(state.count += 1)}`;', 'Write `++count`'],
    ['export function next(state: { count: number }) { ++state.count; }', 'Write `count++`, not `++count`.'],
    ['for (let n = 9; n > 0; --n) globalThis.f(n);', 'Write `count--`, not `--count`.'],
    ['export class Counter {\n  #count = 0;\n  get = () => this.·#count;\n}', 'Write `private`, not `#`.'],
    ['export const·loraPlugin = definePlugin({});', 'Name the constant after the plugin'],
    ['/** @throws·USAGE if it is empty */', 'in backticks'],
    ['/** @throws·{Error} if it is empty */', 'in backticks'],
  ])('fails for %s', async (line, message) => {
    // The dots are spaces: this file must not break the rule.
    const result = await lint(line.replaceAll('·', ' '));
    expect(result.code).toBe(1);
    expect(result.stdout).toContain(message);
  });

  it('passes for what the conventions ask for, and for similar code', async () => {
    const lines = [
      '/** @throws `USAGE` if it is empty. @throws the errors of the callback */',
      'export const lora = definePlugin({});',
      "export const color = '#fff';",
      'export function step(state: { count: number }) { state.count++; state.count += 10; state.count += 1.5; }',
      'export const values = (state: { count: number }) => [++state.count, state.count--, state.count - 1];',
      'for (let n = 0, m = 9; --m > 0; n++, m--) globalThis.f(n, m);',
      '// Adds up: count += 1',
    ];
    expect((await lint(lines.join('\n'))).stdout).not.toContain('whetstone');
  });
});

describe('the lint rule for long lines', () => {
  /** Lints one file with the repository's configuration; the output has one line per problem. */
  const lint = async (name: string, lines: readonly string[]): Promise<CommandResult> => {
    const file = join(await temporaryFolder(), name);
    await writeFile(file, `${lines.join('\n')}\n`);
    const options = ['--deny-warnings', '--format=unix', '--config', join(repository, '.oxlintrc.json')];
    return node('node_modules/oxlint/bin/oxlint', ...options, file);
  };

  /** A statement of `length` characters, of which most take more than one byte. */
  const statement = (length: number): string => `export const text = '${'字'.repeat(length - 23)}';`;

  it.each(['ts', 'mts', 'cts', 'tsx', 'js', 'mjs'])('fails for 121 characters in a .%s file', async (extension) => {
    const result = await lint(`long.${extension}`, ['// A statement.', statement(121)]);
    expect(result.code).toBe(1);
    expect(result.stdout).toMatch(/long\.\w+:2:\d+: This line has 121 characters; the limit is 120\. Wrap it: `npm/);
    expect(result.stdout).not.toMatch(/long\.\w+:1:/);
  });

  it('passes for 120 characters', async () => {
    expect(await lint('short.ts', [statement(120)])).toMatchObject({ code: 0 });
  });

  it('counts comments, templates and regular expressions', async () => {
    const { stdout } = await lint('kinds.ts', [
      `// ${'x'.repeat(118)}`,
      'export const template = `',
      `${'y'.repeat(130)}\`;`,
      `export const pattern = /${'z'.repeat(120)}/;`,
    ]);
    expect(stdout.match(/kinds\.ts:\d+/g)).toEqual(['kinds.ts:1', 'kinds.ts:3', 'kinds.ts:4']);
  });
});

describe('npm run docs:api', () => {
  it('fails for a public export without a docstring, and names it and its file', async () => {
    const root = await repositoryOf({
      'packages/cli/src/index.ts': '/** One. */\nexport const one = 1;\nexport interface Two {\n  readonly two: 2;\n}',
      'packages/cli/typedoc.json': JSON.stringify({
        extends: [join(repository, 'docs/api/typedoc.json')],
        entryPoints: ['src/index.ts'],
        tsconfig: 'tsconfig.json',
      }),
    });
    const options = ['--options', join(root, 'packages/cli/typedoc.json'), '--emit', 'none'];
    const result = await node('docs/api/node_modules/typedoc/bin/typedoc', ...options);
    expect(result.code).not.toBe(0);
    const output = result.stdout + result.stderr;
    expect(output).toMatch(/Two \(Interface\), defined in .*index\.ts, does not have any documentation/);
    expect(output).not.toMatch(/\bone \(/);
  });
});
