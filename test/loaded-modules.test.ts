import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { execute, repository } from './support/execute.js';
import { temporaryFolder } from './support/temporary-folder.js';

// `import 'whetstone'` must be quick: what only some runs need is loaded when it is used. A time would depend on the
// machine, so that the modules are counted. They are those of the build, as `npm test` makes it.

interface Coverage {
  readonly result: readonly { readonly url: string }[];
}

/**
 * Runs a program in a new process.
 *
 * @returns paths of the modules that it ran, relative to the repository: Node's own record of executed scripts, which
 *   has ES modules and CommonJS modules
 */
async function modulesOf(program: string): Promise<string[]> {
  const folder = await temporaryFolder();
  const coverage = join(folder, 'coverage');
  const { code, stderr } = await execute(process.execPath, ['--input-type=module', '--eval', program], repository, {
    ...process.env,
    NODE_OPTIONS: '',
    NODE_V8_COVERAGE: coverage,
  });
  expect(code, stderr).toBe(0);
  const [report = ''] = await readdir(coverage);
  const { result } = JSON.parse(await readFile(join(coverage, report), 'utf8')) as Coverage;
  return result
    .filter(({ url }) => url.startsWith('file:') && !url.endsWith(']'))
    .map(({ url }) => fileURLToPath(url).slice(repository.length).replaceAll('\\', '/'));
}

/** The npm packages of third parties that have one of these modules. */
const thirdParties = (modules: readonly string[]): string[] =>
  [
    ...new Set(modules.map((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? '').filter(Boolean)),
  ].toSorted();

/** What only some runs use: training, backends and their libraries, models, reading data, reports, commands. */
const loadedWhenUsed = new RegExp(
  `^packages/(?:${[
    'backend/dist/(?!install/)',
    'cli/dist/commands/',
    'core/dist/(?:training/|trainer/(?:train|compose|stages)\\.js|ops/|config/|plugins/load-)',
    'data/dist/(?:batching|parallel|reading|report|versions)/',
    'models/dist/(?!plugins\\.js)',
  ].join('|')})`,
);

it("import 'whetstone' loads no module that only some runs use", async () => {
  const modules = await modulesOf("import 'whetstone';");
  expect(modules).toEqual(expect.arrayContaining(['packages/cli/dist/index.js', 'packages/core/dist/index.js']));
  expect(
    modules.filter((path) => loadedWhenUsed.test(path)),
    'Import these where they are used, with `await import()`.',
  ).toEqual([]);
  expect(
    thirdParties(modules),
    'Import a further package where it is used, with `await import()`, unless every user of the import needs it.',
  ).toEqual([
    'eventemitter3', // events of the trainer
    'fastest-levenshtein', // suggestions in the errors of a plugin's hooks
    'reflect-metadata', // needed by tsyringe
    'tslib', // needed by tsyringe
    'tsyringe', // the container of services
  ]);
  // Each file costs a fraction of a millisecond, so that many small ones are as slow as a large one.
  expect(modules.filter((path) => path.startsWith('packages/')).length).toBeLessThan(155);
});

it('a module that is loaded is found, of either module system', async () => {
  const modules = await modulesOf(`
    import { createRequire } from 'node:module';
    import 'whetstone';
    await import('hyparquet');
    await import('@whetstone/backend');
    createRequire(import.meta.url)('jiti');
  `);
  expect(thirdParties(modules)).toEqual(expect.arrayContaining(['@tensorflow/tfjs-core', 'hyparquet', 'jiti']));
  expect(modules.filter((path) => loadedWhenUsed.test(path))).toContain('packages/backend/dist/index.js');
});
