import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { parseSync } from 'oxc-parser';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CreateError } from './create-error.js';
import { createPlugin } from './create-plugin.js';
import { runCommandLine } from './command-line.js';
import { KINDS } from './kinds.js';
import { LANGUAGES } from './language.js';
import { pluginNameOf } from './names.js';
import { otherVersions, version } from './versions.js';
import { writeFolder } from './write-folder.js';

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'create-plugin-'));
});
afterEach(() => rmSync(parent, { recursive: true }));

/** Returns the error that a function throws. */
function errorOf(work: () => unknown): CreateError {
  try {
    work();
  } catch (error) {
    if (error instanceof CreateError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}
const read = (...path: string[]): string => readFileSync(join(parent, ...path), 'utf8');
const manifestOf = (folder: string) =>
  JSON.parse(read(folder, 'package.json')) as Readonly<Record<string, Readonly<Record<string, string>>>>;

describe('the name of a package', () => {
  // https://docs.npmjs.com/cli/configuring-npm/package-json#name and its checks for new packages.
  it.each([
    ['upper case', 'Mine'],
    ['a space', 'my plugin'],
    ['a space at its end', 'mine '],
    ['a dot at its start', '.mine'],
    ['an underscore at its start', '_mine'],
    ['a folder', 'plugins/mine'],
    ['a parent folder', '../mine'],
    ['only a parent folder', '..'],
    ['a backslash', 'plugins\\mine'],
    ['a scope without a name', '@me/'],
    ['a scope with a parent folder', '@me/../mine'],
    ['two scopes', '@me/@you/mine'],
    ['no characters', ''],
    ['215 characters', 'm'.repeat(215)],
    ['characters that a URL does not have', 'mein-plügin'],
    ['special characters', "mine!'()*~"],
    ['a name of Node.js', 'fs'],
    ['a name that npm keeps', 'node_modules'],
  ])('with %s is refused, and nothing is written', (_, name) => {
    const error = errorOf(() => createPlugin({ name, kind: 'metric', language: 'js' }, parent));
    expect(error).toMatchObject({ code: 'USAGE', found: JSON.stringify(name) });
    expect(error.hint).not.toBe('');
    expect(readdirSync(parent)).toEqual([]);
  });

  it.each([
    ['whetstone-plugin-mine', 'whetstone-plugin-mine', 'mine'],
    ['@me/whetstone-plugin-mine', 'whetstone-plugin-mine', 'mine'],
    ['whetstone-mine', 'whetstone-mine', 'whetstone-mine'],
    ['mine', 'mine', 'mine'],
    ['my.own_plugin-2', 'my.own_plugin-2', 'my.own_plugin-2'],
    ['2-steps', '2-steps', '2-steps'],
    ['whetstone-plugin-', 'whetstone-plugin-', 'whetstone-plugin-'],
    ['whetstone-plugin--', 'whetstone-plugin--', 'whetstone-plugin--'],
    ['m'.repeat(214), 'm'.repeat(214), 'm'.repeat(214)],
  ])('%s is a folder and a plugin', (name, folder, plugin) => {
    expect(createPlugin({ name, kind: 'metric', language: 'js' }, parent).folder).toBe(join(parent, folder));
    expect(readdirSync(parent)).toEqual([folder]);
    expect(JSON.parse(read(folder, 'package.json'))).toMatchObject({ name, keywords: ['whetstone-plugin'] });
    expect(read(folder, 'index.js')).toContain(`name: '${plugin}',`);
  });

  it('must not be that of a built-in plugin of the kind', () => {
    for (const name of ['lora', 'whetstone-plugin-lora', '@me/whetstone-plugin-lora'])
      expect(errorOf(() => pluginNameOf(name, 'strategy'))).toMatchObject({ code: 'USAGE', found: name });
    expect(pluginNameOf('whetstone-plugin-lora', 'metric')).toBe('lora');
  });
});

describe('the folder', () => {
  const create = () => createPlugin({ name: '@me/mine', kind: 'callback', language: 'ts' }, parent);

  it('may be empty', () => {
    mkdirSync(join(parent, 'mine'));
    expect(create().files.toSorted()).toEqual([
      '.gitignore',
      'README.md',
      'package.json',
      'src/index.test.ts',
      'src/index.ts',
      'tsconfig.json',
    ]);
    expect(readdirSync(join(parent, 'mine')).toSorted()).toEqual(
      ['.gitignore', 'README.md', 'package.json', 'src', 'tsconfig.json'].toSorted(),
    );
  });

  it.each([
    ['a folder with a file', () => mkdirSync(join(parent, 'mine/src'), { recursive: true })],
    ['a file', () => writeFileSync(join(parent, 'mine'), 'mine')],
    [
      'a link to an empty folder',
      () => {
        mkdirSync(join(parent, 'empty'));
        symlinkSync('empty', join(parent, 'mine'));
      },
    ],
    ['a link to nothing', () => symlinkSync('nowhere', join(parent, 'mine'))],
  ])('is refused and left as it is if there is %s', (_, make) => {
    make();
    const before = readdirSync(parent, { recursive: true });
    expect(errorOf(create)).toMatchObject({ code: 'OUTPUT_EXISTS', found: join(parent, 'mine') });
    expect(readdirSync(parent, { recursive: true })).toEqual(before);
  });

  it('is not created in a file, with an error that names the folder', () => {
    writeFileSync(join(parent, 'file'), '');
    const error = errorOf(() => createPlugin({ name: 'mine', kind: 'metric', language: 'js' }, join(parent, 'file')));
    expect(error).toMatchObject({ code: 'FILE_UNWRITABLE', exitCode: 1, found: join(parent, 'file', 'mine') });
  });

  it('does not exist if a file cannot be written, and nothing remains of it', () => {
    const files = new Map([
      ['index.js', 'export {};'],
      ['index.js/test.js', 'no folder'],
    ]);
    expect(() => writeFolder(join(parent, 'mine'), files)).toThrow(/EEXIST|ENOTDIR/);
    expect(readdirSync(parent)).toEqual([]);
  });
});

describe.each(KINDS)('the package of a %s', (kind) => {
  it.each(LANGUAGES)('in %s names what its modules import', (language) => {
    createPlugin({ name: 'whetstone-plugin-mine', kind, language }, parent);
    const folder = join('whetstone-plugin-mine', language === 'ts' ? 'src' : '.');
    const { peerDependencies = {}, devDependencies = {} } = manifestOf('whetstone-plugin-mine');
    const importedBy = (file: string): string[] =>
      [...read(folder, file).matchAll(/from '([^.'][^']*)'|^import '([^']+)'/gm)]
        .map(([, from, alone]) => from ?? alone ?? '')
        .filter((name) => !name.startsWith('node:'))
        .map((name) => name.split('/', name.startsWith('@') ? 2 : 1).join('/'));
    expect(Object.keys(peerDependencies)).toEqual(expect.arrayContaining(importedBy(`index.${language}`)));
    expect(Object.keys({ ...peerDependencies, ...devDependencies })).toEqual(
      expect.arrayContaining([...importedBy(`index.test.${language}`), 'vitest', 'whetstone']),
    );
    expect(peerDependencies['@whetstone/core']).toBe(`^${version}`);
    for (const file of [`index.${language}`, `index.test.${language}`])
      expect(parseSync(file, read(folder, file)).errors, file).toEqual([]);
    const texts = ['README.md', `${language === 'ts' ? 'src/' : ''}index.${language}`];
    for (const text of texts) expect(read('whetstone-plugin-mine', text)).not.toMatch(/[«»]|undefined\.|\[object/);
  });
});

it('plugins are developed with the versions of Whetstone itself', () => {
  const { devDependencies } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    readonly devDependencies: Readonly<Record<string, string>>;
  };
  const names = Object.keys(otherVersions);
  expect(Object.values(otherVersions).map((range) => range.replace('^', ''))).toEqual(
    names.map((name) => devDependencies[name]),
  );
});

describe('the command', () => {
  const run = async (parameters: readonly string[], answers: readonly string[] | null = null) => {
    const input = new PassThrough();
    const printed = { output: '', errors: '' };
    const stream = (name: keyof typeof printed) =>
      new PassThrough().on('data', (text: Buffer) => {
        printed[name] += text.toString();
        // A person answers when a question is written.
        if (name === 'output' && text.toString().endsWith('): ')) {
          const answer = rest.shift();
          if (answer === undefined) input.end();
          else input.write(`${answer}\n`);
        }
      });
    const rest = [...(answers ?? [])];
    const code = await runCommandLine(parameters, {
      folder: parent,
      input,
      output: stream('output'),
      errors: stream('errors'),
      isInteractive: answers !== null,
    });
    return { code, ...printed, asked: (printed.output.match(/\): /g) ?? []).length };
  };
  const contents = (name: string) => ({
    kind: /kind: '([^']+)'/.exec(
      read(name, readdirSync(join(parent, name)).includes('src') ? 'src/index.ts' : 'index.js'),
    ),
    isTyped: readdirSync(join(parent, name)).includes('tsconfig.json'),
  });

  it('asks nothing that is given', async () => {
    const result = await run(['whetstone-plugin-mine', '--kind', 'optimizer', '--language', 'js'], []);
    expect(result).toMatchObject({ code: 0, errors: '', asked: 0 });
    expect(contents('whetstone-plugin-mine')).toMatchObject({ kind: { 1: 'optimizer' }, isTyped: false });
    expect(result.output).toContain('cd whetstone-plugin-mine');
  });

  it('asks for what is not given, again if the answer is invalid', async () => {
    const result = await run([], ['metrics', 'metric', 'Mine', 'rouge', 'mine', '']);
    expect(result).toMatchObject({ code: 0, asked: 6 });
    expect(result.errors).toContain("Did you mean 'metric'?");
    expect(result.errors).toContain('no longer contain capital letters');
    expect(result.errors).toContain("built-in metric with the name 'rouge'");
    expect(contents('mine')).toMatchObject({ kind: { 1: 'metric' }, isTyped: true });
  });

  it.each([
    ['with --yes', ['mine', '--yes'], []],
    ['without a terminal', ['mine'], null],
  ])('uses the defaults %s', async (_, parameters, answers) => {
    expect(await run(parameters, answers)).toMatchObject({ code: 0, asked: 0 });
    expect(contents('mine')).toMatchObject({ kind: { 1: 'callback' }, isTyped: true });
  });

  it('creates nothing if the input ends', async () => {
    expect(await run(['--language', 'js'], ['metric'])).toMatchObject({
      code: 130,
      errors: '\nNothing was created.\n',
    });
    expect(readdirSync(parent)).toEqual([]);
  });

  it.each([
    ['no name', ['--yes'], 'The name of the package is missing.'],
    ['two names', ['one', 'two'], 'There is more than one name.'],
    ['an unknown kind', ['mine', '--kind', 'transform'], "Did you mean 'data-transform'?"],
    ['an unknown language', ['mine', '--language', 'typescript'], 'expected: ts, js'],
    ['an unknown option', ['mine', '--kinds', 'metric'], '--kinds'],
    ['an option without a value', ['mine', '--kind'], '--kind'],
    ['an invalid name', ['Mine'], 'capital letters'],
    ['a taken name', ['chrf', '--kind', 'metric'], "built-in metric with the name 'chrf'"],
  ])('refuses %s, and asks nothing', async (_, parameters, message) => {
    const result = await run(parameters, parameters.includes('--yes') ? [] : null);
    expect(result).toMatchObject({ code: 2, output: '' });
    expect(result.errors).toContain('[USAGE]');
    expect(result.errors).toContain(message);
    expect(readdirSync(parent)).toEqual([]);
  });

  it('prints its version and its options', async () => {
    expect(await run(['--version'])).toMatchObject({ code: 0, output: `${version}\n` });
    const { code, output } = await run(['--help']);
    expect(code).toBe(0);
    for (const name of [...KINDS, '--language', '--yes']) expect(output).toContain(name);
  });
});
