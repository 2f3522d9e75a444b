import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkCommands } from './check-commands.js';
import { checkConfigurations } from './check-configurations.js';
import { checkDocstrings } from './check-docstrings.js';
import { checkExample } from './check-examples.js';
import { checkPrintedCommands } from './check-printed-commands.js';
import { checkReferences, knownNames } from './check-references.js';
import { checkTypes, isProgram, writePage } from './check-types.js';
import { repository } from '../support/execute.js';
import { formatProblems, parsePage, type DocumentationProblem } from './markdown.js';
import { repositoryFiles, sourceFiles } from './repository-files.js';
import { shellCommands } from './shell.js';
import { createWorld } from './world.js';

// The checks of the documentation are proven on a page on which every example is wrong. Each expectation is the line of
// the mistake in the fixture, and a part of the message.

const path = 'test/docs/fixtures/bad.md';
const text = await readFile(join(repository, path), 'utf8');
const page = parsePage(path, text);

/** `page:line: ` of the only line of the fixture that holds a text. */
function placeOf(part: string): string {
  const lines = text.split('\n').flatMap((line, index) => (line.includes(part) ? [index + 1] : []));
  if (lines.length !== 1) throw new Error(`'${part}' stands in the lines ${lines.join(', ')} of the fixture.`);
  return `${path}:${lines[0]}: `;
}

/** Expects these problems and no other: a part of the line of each, and what its message says. */
function expectProblems(
  problems: readonly DocumentationProblem[],
  expected: readonly (readonly [line: string, message: RegExp])[],
): void {
  const found = formatProblems(problems);
  const isAt = (problem: string, line: string) => problem.startsWith(placeOf(line));
  for (const [line, message] of expected)
    expect(found.filter((problem) => isAt(problem, line)).join('\n'), `${placeOf(line)}${String(message)}`).toMatch(
      message,
    );
  expect(found.filter((problem) => !expected.some(([line]) => isAt(problem, line)))).toEqual([]);
}

describe('the checks of the documentation', () => {
  let world: string;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    world = await mkdtemp(join(tmpdir(), 'whetstone-docs-checks-'));
    env = await createWorld(world, null);
    await writePage(page, world);
  });
  afterAll(() => rm(world, { recursive: true, force: true }));

  it('report wrong types', async () => {
    expectProblems(await checkTypes([page]), [
      ['onStepEnd() {}', /error TS.*onStepEnd/],
      ["'half'", /error TS.*string.*number/s],
    ]);
  }, 120_000);

  it('report plugins that are refused, programs that fail, and other output than the comments say', async () => {
    const programs = page.blocks.filter(isProgram);
    const problems = [];
    for (const block of programs) problems.push(...(await checkExample(block, { folder: world, cwd: world, env })));
    expectProblems(problems, [
      ["import { definePlugin } from '@whetstone/core/contract'; // a hook", /PLUGIN_INVALID.*onStepEnd.*onStep/s],
      ["import { definePlugin } from '@whetstone/core/contract'; // a factor", /./],
      ['console.log(1 + 1);', /does not print '3' but: 2/],
      ['on purpose', /exit code 1.*on purpose/s],
      ["import { expect, test } from 'vitest';", /The tests fail.*expected 1 to be 2/s],
      [
        "import { definePlugin } from '@whetstone/core/contract'; // an option",
        /never read callbacks\[0\]\.options\.limit/,
      ],
    ]);
  }, 240_000);

  it('report commands, arguments, options, settings and scripts that do not exist', async () => {
    expectProblems(await checkCommands(page), [
      ['whetstone trian', /unknown command 'trian'[^]*train/],
      ['--resme', /unknown option '--resme'/],
      ['the configuration is missing', /missing required argument 'config'/],
      ['float64', /'float64' is invalid/],
      ['learnRate', /optimizer\.learnRate.*learningRate/],
      ['--process 2', /unknown option '--process'/],
      ['npm run tests', /no npm script 'tests'/],
      ['--bacth', /unknown option '--bacth' of the benchmark 'step'/],
      ['nowhere.mjs', /no file examples\/nowhere\.mjs/],
      ['whetstone-app', /create-whetstone-app is not a package/],
      ['--kind tool', /'tool' is not a value of --kind[^]*unknown option '--lang'/],
      ['mine --kind metric', /not behind the name/],
      ['frobnicate', /program frobnicate/],
      ["bash -c 'npx whetstone chat'", /missing required argument 'model'/],
      ['whetstone data inpsect', /unknown command 'inpsect'[^]*'--tempreture'[^]*no npm script 'benches'/],
      ['--resumed', /unknown option '--resumed'/],
    ]);
  }, 120_000);

  it('report configurations that do not fit the schema', async () => {
    expectProblems(await checkConfigurations(page, world), [
      ['"loar"', /loar.*lora/],
      ['"rang"', /rang.*rank/],
      ['"several"', /rank/],
      ['"maxSteps": "many"', /maxSteps/],
      ['"seed": 1', /not JSON/],
    ]);
  }, 120_000);

  it('report links, files, identifiers and options that do not exist', () => {
    const files = repositoryFiles();
    const known = knownNames(files, sourceFiles(files), []);
    expectProblems(checkReferences(page, known), [
      ['whetstone data inpsect', /--tempreture/],
      [
        'See [nothing]',
        /link \.\.\/nowhere\.md leads nowhere[^]*no heading.*no_such_code[^]*no file packages\/core\/src\/nowhere\.ts/,
      ],
      ['`engine/nowhere.ts`', /no file engine\/nowhere\.ts[^]*no folder packages\/core\/src\/nowhere\//],
      ['`engine/nowhere.ts`', /onBatchEnd[^]*saveEverything[^]*NO_SUCH_CODE[^]*WHETSTONE_NOTHING/],
      ['`training.maxStep`', /maxStep[^]*--no-such-option/],
    ]);
  });

  it('report docstrings that name what does not exist', async () => {
    const source = 'test/docs/fixtures/bad-docstrings.txt';
    const problems = checkDocstrings(
      { path: source, text: await readFile(join(repository, source), 'utf8') },
      repositoryFiles(),
    );
    expect(formatProblems(problems)).toEqual([
      `${source}:2: {@link missing} leads to nothing in this file.`,
      `${source}:2: There is no file nowhere.ts.`,
      `${source}:2: whetstone trian run.json: unknown command 'trian'`,
      `${source}:4: @param mistake does not name a parameter of the declaration below.`,
      `${source}:5: There is no error code NO_SUCH_CODE.`,
    ]);
  });

  it('report commands that do not exist where a package is installed', () => {
    const problemsOf = (file: string, lines: string): string[] =>
      formatProblems(checkPrintedCommands({ path: file, text: lines }));
    const source = 'packages/models/src/message.ts';
    expect(
      problemsOf(
        source,
        [
          '/** `npx whetstone train` in a comment is for people who read the source. */',
          "const hints = ['npx whetstone import', 'npx --yes whetstone-backend info', `whetstone chat ${model}`];",
          "const joined = 'Convert it: npx ' +",
          "  'whetstone import.';",
          "const scripts = 'npm run build';",
          "const packages = 'npm install @whetstone/backend whetstone-extras';",
          "const create = 'npm create whetstone-app';",
          'const inserted = `npm install ${use}`;',
          "const good = 'npx @whetstone/backend info; npm i whetstone @tensorflow/tfjs-core; npm install ./folder';",
          "const words = 'The whetstone models are good.';",
        ].join('\n'),
      ),
    ).toEqual([
      `${source}:2: npx whetstone: The command whetstone is not installed where this is read.`,
      `${source}:2: npx --yes whetstone-backend: The command whetstone-backend is not installed where this is read.`,
      `${source}:2: whetstone chat: The command whetstone is not installed where this is read.`,
      `${source}:3: npx \n  whetstone: The command whetstone is not installed where this is read.`,
      `${source}:5: npm run build: There is no script 'build' where this is read.`,
      `${source}:6: npm install @whetstone/backend whetstone-extras: whetstone-extras is neither a package of this ` +
        'repository nor a dependency.',
      `${source}:7: npm create whetstone-app: create-whetstone-app is not a package of this repository.`,
      `${source}:8: npm install \${use}: \${use} is neither a package of this repository nor a dependency.`,
    ]);
    expect(problemsOf('packages/cli/src/message.ts', "const hint = 'npx whetstone train; whetstone chat m';")).toEqual(
      [],
    );
    expect(problemsOf('docs/page.md', 'Run `npx whetstone train run.json`, `npm run build` or `npx vitest`.')).toEqual(
      [],
    );
    expect(problemsOf('docs/page.md', 'Run `npx serve` or `npm install whetstone-extras`.')).toHaveLength(2);
    expect(problemsOf('docs/page.md', 'Set `"use": "@whetstone/backend"` or `"use": "@acme/dora"`.')).toEqual([
      'docs/page.md:1: "@acme/dora": @acme/dora is neither a package of this repository nor a dependency.',
    ]);
  });
});

describe('shellCommands', () => {
  it.each([
    ['a "b c" \'d\' # e\nf', [['a', 'b c', 'd'], ['f']]],
    ['X=1 Y=2 a \\\n  -b && c | d; e &', [['a', '-b'], ['c'], ['d'], ['e']]],
    ['for i in 0 1; do\n  a $(b c) &\ndone', [['for', 'i', 'in', '0', '1'], ['a', '$(b c)'], ['done']]],
    ["run bash -c 'a; exec b'", [['run', 'bash'], ['a'], ['b']]],
  ])('splits %j', (script, expected) => {
    expect(shellCommands(script).map(({ words }) => words)).toEqual(expected);
  });

  it('counts lines', () => {
    expect(shellCommands("a 'x\ny'\nb \\\n c\nd").map(({ line }) => line)).toEqual([0, 2, 4]);
  });
});

describe('parsePage', () => {
  it('finds blocks with their lines, files and reasons, and keeps the lines of the prose', () => {
    const parsed = parsePage(
      'p.md',
      'a\n<!-- not run: it needs a network -->\n```ts file=x.ts\n1\n```\nb\n```\n2\n```\n',
    );
    expect(parsed.blocks).toEqual([
      { page: 'p.md', line: 3, language: 'ts', file: 'x.ts', notRun: 'it needs a network', text: '1' },
      { page: 'p.md', line: 7, language: '', file: null, notRun: null, text: '2' },
    ]);
    expect(parsed.prose[5]).toBe('b');
  });
});
