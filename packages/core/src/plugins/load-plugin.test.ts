import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import * as contract from '../contract/index.js';
import { definePlugin, WhetstoneError, type Plugin, type PluginKind } from '../contract/index.js';
import { loadPlugin } from './load-plugin.js';
import { createRegistry } from './registry.js';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-plugins-'));
afterAll(() => rmSync(folder, { recursive: true }));
const write = (path: string, text: string) => {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
};

const schema = { type: 'object', additionalProperties: false } as const;
const builtIn = (kind: PluginKind, name: string): Plugin =>
  definePlugin({ apiVersion: 2, kind, name, configSchema: schema, create: () => ({}) as never });
const load = (
  kind: PluginKind,
  use: string,
  registry = createRegistry([builtIn('callback', 'early-stopping'), builtIn('strategy', 'lora')]),
) => loadPlugin(kind, use, { registry, baseFolder: folder, sharedModules: { '@whetstone/core/contract': contract } });
async function rejection(kind: PluginKind, use: string): Promise<WhetstoneError> {
  const error: unknown = await load(kind, use).catch((failure: unknown) => failure);
  if (error instanceof WhetstoneError) return error;
  throw new Error('was accepted');
}
const plugin = (name: string, kind = 'callback') =>
  `{ apiVersion: 2, kind: '${kind}', name: '${name}', configSchema: { type: 'object', additionalProperties: ` +
  'false }, create: () => ({ onStep() {} }) }';

describe('a registered plugin', () => {
  it('is found by kind and name', async () => {
    expect((await load('callback', 'early-stopping')).name).toBe('early-stopping');
  });
  it('is suggested for a misspelled name', async () => {
    const error = await rejection('callback', 'early-stoping');
    expect([error.code, error.hint]).toEqual(['PLUGIN_NOT_FOUND', "Did you mean 'early-stopping'?"]);
    expect(error.expected).toContain('early-stopping');
  });
  it('of a different kind is mentioned in the hint', async () => {
    expect((await rejection('callback', 'lora')).hint).toMatch(/'lora' is a strategy, not a callback/);
  });
});

describe('a local file', () => {
  it('can be TypeScript, import another file, and gets the running instance of core', async () => {
    write(
      'mine.ts',
      `import { definePlugin, WhetstoneError } from '@whetstone/core/contract';
      import { name } from './name.ts';
      interface Unused { readonly a: string }
      export const error: unknown = WhetstoneError;
      export default definePlugin({
        apiVersion: 2,
        kind: 'callback',
        name,
        configSchema: { type: 'object', additionalProperties: false },
        create: () => ({
          onStep(): void {
            throw new WhetstoneError('INTERNAL', 'same');
          },
        }),
      });`,
    );
    write('name.ts', "export const name: string = 'mine';");
    const loaded = await load('callback', './mine.ts');
    expect(loaded.name).toBe('mine');
    const callback = (await loaded.create(undefined as never, undefined as never)) as { onStep(): void };
    expect(() => callback.onStep()).toThrow(WhetstoneError);
  });
  it.each([
    ['esm.mjs', 'export default'],
    ['common.cjs', 'module.exports ='],
  ])('can be %s', async (file, syntax) => {
    write(file, `${syntax} ${plugin(file)};`);
    expect((await load('callback', `./${file}`)).name).toBe(file);
  });
  it('that is missing is reported with its path', async () => {
    const error = await rejection('callback', './none.ts');
    expect([error.code, error.place?.file]).toEqual(['PLUGIN_NOT_FOUND', join(folder, 'none.ts')]);
  });
  it('that cannot be loaded is reported with the cause', async () => {
    write('broken.mjs', 'throw new RangeError("at load");');
    const error = await rejection('callback', './broken.mjs');
    expect([error.code, (error.cause as Error).message]).toEqual(['PLUGIN_INVALID', 'at load']);
    write('syntax.ts', 'export default {{;');
    expect((await rejection('callback', './syntax.ts')).code).toBe('PLUGIN_INVALID');
  });
  it('given without ./ is mentioned in the hint', async () => {
    write('bare.mjs', `export default ${plugin('bare')}`);
    expect((await rejection('callback', 'bare.mjs')).hint).toContain('write ./bare.mjs');
  });
});

describe("a strategy's adapter", () => {
  const strategy = (adapter: string, kind = 'strategy') =>
    `export default { apiVersion: 2, kind: '${kind}', name: 'mine', configSchema: { type: 'object', ` +
    `additionalProperties: false }, create() {}, adapter: ${adapter} };`;

  it('can read and merge its types', async () => {
    write('reads.mjs', strategy("{ peftTypes: ['MINE'], load() {}, merge() {} }"));
    expect((await load('strategy', './reads.mjs')).adapter?.peftTypes).toEqual(['MINE']);
    write('only-reads.mjs', strategy("{ peftTypes: ['MINE'], load() {} }"));
    expect((await load('strategy', './only-reads.mjs', createRegistry([]))).adapter?.merge).toBeUndefined();
  });

  it.each([
    ['no object', '3', ['adapter']],
    ['without types', '{ peftTypes: [], load() {} }', ['adapter.peftTypes']],
    ['of types that are not strings', '{ peftTypes: [1], load() {} }', ['adapter.peftTypes']],
    ['that cannot be read', "{ peftTypes: ['MINE'] }", ['adapter.load']],
    ['with a misspelled key', "{ peftTypes: ['MINE'], load() {}, merg() {} }", ['adapter.merg']],
    ['with every problem', '{ merge: 1 }', ['adapter.peftTypes', 'adapter.load', 'adapter.merge']],
  ])('%s is refused', async (name, adapter, paths) => {
    const file = `./${name.replaceAll(' ', '-')}.mjs`;
    write(file, strategy(adapter));
    const error = await rejection('strategy', file);
    expect([error.code, error.problems?.map(({ place }) => place?.path)]).toEqual(['PLUGIN_INVALID', paths]);
  });

  it('is refused for another kind of plugin', async () => {
    write('callback-adapter.mjs', strategy("{ peftTypes: ['MINE'], load() {} }", 'callback'));
    const error = await rejection('callback', './callback-adapter.mjs');
    expect(error.problems).toMatchObject([{ message: 'Only strategies have an adapter.', place: { path: 'adapter' } }]);
  });
});

describe('an npm package', () => {
  const install = (name: string, main: string, more: object = {}) => {
    write(
      `node_modules/${name}/package.json`,
      JSON.stringify({ name, version: '1.0.0', type: 'module', exports: { import: './index.js' }, ...more }),
    );
    write(`node_modules/${name}/index.js`, main);
  };

  it("is resolved from the configuration's folder", async () => {
    install('@acme/whetstone-shout', `export default ${plugin('shout')}`);
    expect((await load('callback', '@acme/whetstone-shout')).name).toBe('shout');
  });
  it('with several plugins provides the only one of the kind, or the named one', async () => {
    install('many', `export default [${plugin('one')}, ${plugin('two')}, ${plugin('three', 'logger')}]`);
    expect((await load('logger', 'many')).name).toBe('three');
    expect((await load('callback', 'many#two')).name).toBe('two');
    expect((await rejection('callback', 'many')).hint).toBe('Name one of them, for example "many#one".');
    expect((await rejection('callback', 'many#twoo')).hint).toBe("Did you mean 'two'?");
    expect(await rejection('strategy', 'many')).toMatchObject({
      code: 'PLUGIN_INVALID',
      expected: 'a plugin of kind strategy',
    });
  });
  it('that is not installed is reported with a hint', async () => {
    const { hint = '' } = await rejection('callback', '@acme/nothing');
    expect(hint).toMatch(/install it in the folder of the configuration.*Check its name and author first/);
    // Nobody may own the name: a command to copy would run the code of whoever publishes it.
    expect(hint).not.toMatch(/@acme|\b(?:npx|yarn|pnpm|bunx)\b|\bnpm (?!package\b)/);
    expect((await rejection('callback', 'fs')).code).toBe('PLUGIN_NOT_FOUND');
  });
  it('whose dependency is missing is reported with the cause', async () => {
    install('needy', 'import "not-installed-at-all"; export default {};');
    const error = await rejection('callback', 'needy');
    expect(error.code).toBe('PLUGIN_INVALID');
    expect(error.cause).toBeInstanceOf(Error);
  });
  it('cannot have the name of another plugin', async () => {
    install('imposter', `export default ${plugin('early-stopping')}`);
    const error = await rejection('callback', 'imposter');
    expect(error).toMatchObject({
      code: 'PLUGIN_CONFLICT',
      details: { name: 'early-stopping', origins: ['the built-in plugins', 'imposter'] },
    });
  });
  it('can be loaded twice', async () => {
    const registry = createRegistry([]);
    expect(await load('callback', '@acme/whetstone-shout', registry)).toBe(
      await load('callback', '@acme/whetstone-shout', registry),
    );
  });
});

describe('a module without a valid plugin', () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['nothing.mjs', 'export const a = 1;', /kind/],
    [
      'version.mjs',
      'export default { apiVersion: 3, kind: "callback", name: "x", configSchema: { type: "object", ' +
        'additionalProperties: false }, create() {} };',
      /different version/,
    ],
    [
      'version-1.mjs',
      'export default { apiVersion: 1, kind: "callback", name: "x", configSchema: { type: "object", ' +
        'additionalProperties: false }, create() {} };',
      /for version 1 of the .*Version 2 changed .*"Upgrading plugins to version 2" in docs\/versioning\.md/s,
    ],
    [
      'new-kind.mjs',
      'export default { apiVersion: 2, kind: "tokenizer", name: "x", configSchema: { type: "object", ' +
        'additionalProperties: false }, create() {} };',
      /does not know plugins of kind 'tokenizer'.*one of strategy, callback, logger/s,
    ],
    [
      'kind.mjs',
      'export default { apiVersion: 2, kind: "calback", name: "x", configSchema: { type: "object", ' +
        'additionalProperties: false }, create() {} };',
      /Did you mean 'callback'/,
    ],
    [
      'name.mjs',
      'export default { apiVersion: 2, kind: "callback", name: "", configSchema: { type: "object", ' +
        'additionalProperties: false }, create() {} };',
      /no valid name/,
    ],
    [
      'schema.mjs',
      'export default { apiVersion: 2, kind: "callback", name: "x", configSchema: { type: "objekt" }, create() {} };',
      /must describe an object/,
    ],
    [
      'schema2.mjs',
      'export default { apiVersion: 2, kind: "callback", name: "x", configSchema: { type: "object", ' +
        'additionalProperties: false, properties: { a: { tpye: "string" } } }, create() {} };',
      /not a valid JSON Schema/,
    ],
    [
      'open.mjs',
      'export default { apiVersion: 2, kind: "callback", name: "x", configSchema: { type: "object" }, create() {} };',
      /misspelled options would be accepted/,
    ],
    [
      'create.mjs',
      'export default { apiVersion: 2, kind: "callback", name: "x", configSchema: { type: "object", ' +
        'additionalProperties: false }, creat() {} };',
      /Did you mean 'create'/,
    ],
    ['empty.mjs', 'export default [];', /empty list/],
    ['number.mjs', 'export default 3;', /does not export a plugin/],
  ];
  it.each(cases)('%s', async (file, text, message) => {
    write(file, text);
    const error = await rejection('callback', `./${file}`);
    expect(error.code).toBe('PLUGIN_INVALID');
    expect(error.toString()).toMatch(message);
  });
});

it('createRegistry rejects two plugins of one kind and name', () => {
  expect(() => createRegistry([builtIn('callback', 'a'), builtIn('callback', 'a')])).toThrow(
    /Two plugins of kind callback/,
  );
  expect(createRegistry([builtIn('callback', 'a'), builtIn('logger', 'a')]).plugins).toHaveLength(2);
});
