import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PluginKind } from '@whetstone/core/contract';
import { createPlugin, KINDS, LANGUAGES } from 'create-whetstone-plugin';
import { builtInPlugins } from '../packages/cli/src/built-ins.js';
import { builtInNames } from '../packages/create-whetstone-plugin/src/names.js';
import { openScratchProject } from '../scripts/tests/scratch-project.mjs';
import { execute } from './support/execute.js';

// Needs the built packages, as `npm test` makes them. They are packed, and served on this machine: no network is used.

/** `npm run test:create-plugin` runs the suite of every kind; the normal suite those of a strategy and a callback. */
const everyKind = process.env['WHETSTONE_TEST_CREATE_PLUGIN'] === 'all';

it('knows the kinds of the contract, and the built-in plugins of each', () => {
  const known: Readonly<Record<PluginKind, readonly string[]>> = builtInNames;
  expect(Object.keys(known).toSorted()).toEqual(KINDS.toSorted());
  for (const [kind, names] of Object.entries(known)) {
    const expected = builtInPlugins.filter((plugin) => plugin.kind === kind).map(({ name }) => name);
    expect(names.toSorted(), kind).toEqual(expected.toSorted());
  }
});

let folder: string;
let project: Awaited<ReturnType<typeof openScratchProject>>;
const nameOf = (kind: string, language: string): string => `whetstone-plugin-${language}-${kind}`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-create-'));
  project = await openScratchProject(folder);
}, 480_000);
afterAll(async () => {
  await project.close();
  await rm(folder, { recursive: true, force: true });
});

describe('npm create whetstone-plugin', () => {
  it('makes a package that installs, passes its own suite, builds and packs', async () => {
    const options = ['--', '--kind', 'strategy', '--yes'];
    const made = await project.npm(['create', '--yes', 'whetstone-plugin', '@me/whetstone-plugin-scales', ...options]);
    expect(made.stdout).toContain('Made @me/whetstone-plugin-scales, a strategy');
    const own = join(folder, 'whetstone-plugin-scales');
    await project.npm(['install', '--no-audit', '--no-fund'], own);
    const tested = await project.npm(['test'], own);
    expect(stripVTControlCharacters(tested.stdout)).toMatch(/Tests {2}\d+ passed \(\d+\)/);
    await project.npm(['run', 'build'], own);
    const { stdout } = await project.npm(['pack', '--dry-run', '--json'], own);
    const [{ files }] = JSON.parse(stdout) as [{ readonly files: readonly { readonly path: string }[] }];
    expect(files.map(({ path }) => path).toSorted()).toEqual([
      'README.md',
      'dist/index.d.ts',
      'dist/index.js',
      'package.json',
    ]);
  }, 480_000);
});

describe('the packages of all kinds', () => {
  const all = KINDS.flatMap((kind) => LANGUAGES.map((language) => ({ kind, language, name: nameOf(kind, language) })));
  /** A project whose workspaces are the packages, so that one installation serves all of them. */
  let workspace: string;
  const bin = (name: string, ...parameters: readonly string[]) =>
    execute(join(workspace, 'node_modules/.bin', name), parameters, workspace);

  beforeAll(async () => {
    workspace = join(folder, 'workspace');
    await mkdir(join(workspace, 'plugins'), { recursive: true });
    for (const choices of all) createPlugin(choices, join(workspace, 'plugins'));
    const manifest = { name: 'workspace', private: true, type: 'module', workspaces: ['plugins/*'] };
    await writeFile(join(workspace, 'package.json'), JSON.stringify(manifest));
    await project.npm(['install', '--no-audit', '--no-fund'], workspace);
  }, 480_000);

  it('pass their own suites', async () => {
    // That of the strategy ran above. In JavaScript, the suite of the callback and the run below stand for all.
    const others = everyKind ? KINDS.filter((kind) => kind !== 'strategy') : [];
    const folders = [...others.map((kind) => nameOf(kind, 'ts')), nameOf('callback', 'js')];
    const result = await bin('vitest', 'run', '--reporter=json', '--outputFile=report.json', ...folders);
    expect(result, result.stdout + result.stderr).toMatchObject({ code: 0 });
    const report = JSON.parse(await readFile(join(workspace, 'report.json'), 'utf8')) as {
      readonly numFailedTests: number;
      readonly numPendingTests: number;
      readonly testResults: readonly { readonly name: string }[];
    };
    expect(report).toMatchObject({ numFailedTests: 0, numPendingTests: 0 });
    expect(report.testResults).toHaveLength(folders.length);
  }, 480_000);

  it('have correct types, in TypeScript', async () => {
    for (const { name, language } of all)
      if (language === 'ts') {
        const result = await bin('tsc', '--project', join('plugins', name));
        expect(result, result.stdout).toMatchObject({ code: 0 });
      }
  }, 480_000);

  it('are listed, and take part in a run together', async () => {
    const listed = await bin('whetstone', 'plugins', '--json');
    for (const { name } of all) expect(listed.stdout).toContain(`"name":"${name}"`);

    const makeModel =
      "import { createTinyModel } from 'whetstone'; await createTinyModel('tiny', { hiddenSize: 32, layers: 1 });";
    const made = await execute(process.execPath, ['--input-type=module', '--eval', makeModel], workspace);
    expect(made, made.stderr).toMatchObject({ code: 0 });
    const config = join(workspace, 'tiny/config.json');
    const shape = JSON.parse(await readFile(config, 'utf8')) as object;
    // The architecture of the plugin; its name is that of the plugin.
    await writeFile(config, JSON.stringify({ ...shape, model_type: 'js-model' }));
    await writeFile(
      join(workspace, 'train.txt'),
      'Is it late?\tNo.\nIs it far?\tYes, it is.\nAnd now?\t-\nWhy?\tSo.\n',
    );
    const use = (kind: string, options: object = {}) => ({ use: nameOf(kind, 'js'), options });
    const data = use('data-source', { path: 'train.txt' });
    const run = {
      model: { use: nameOf('model', 'js'), path: './tiny' },
      backend: 'cpu',
      data: { train: data, eval: data, leakage: 'off', transforms: [use('data-transform', { characters: 2 })] },
      strategy: use('strategy'),
      callbacks: [use('callback', { loss: 100, steps: 2 })],
      loggers: [use('logger')],
      optimizer: { use: nameOf('optimizer', 'js'), learningRate: 0.01, weightDecay: 0 },
      schedule: { use: nameOf('schedule', 'js'), halvings: 1 },
      evaluation: { metrics: [use('metric')], maxNewTokens: 4 },
      training: { maxSteps: 6, perDeviceTrainBatchSize: 1, evalStrategy: 'ends', saveStrategy: 'no' },
      output: { folder: 'run' },
    };
    await writeFile(join(workspace, 'run.json'), JSON.stringify(run));
    const trained = await bin('whetstone', 'train', 'run.json', '--json');
    expect(trained, trained.stderr).toMatchObject({ code: 0 });
    // The callback ends the run after two steps.
    expect(JSON.parse(trained.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({ steps: 2 });
    expect((await readFile(join(workspace, 'run/losses.txt'), 'utf8')).trim().split('\n')).toHaveLength(2);
    const adapter = JSON.parse(await readFile(join(workspace, 'run/adapter/adapter_config.json'), 'utf8')) as object;
    expect(adapter).toMatchObject({ peft_type: 'JS_STRATEGY_SCALES' });
  }, 480_000);
});
