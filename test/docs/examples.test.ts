import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findTensorflow } from '@whetstone/backend/install';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkCommands } from './check-commands.js';
import { checkConfigurations } from './check-configurations.js';
import { checkExample } from './check-examples.js';
import { checkTypes, isProgram, writePage } from './check-types.js';
import { formatProblems, pagePaths, readPage, type CodeBlock, type Page } from './markdown.js';
import { createWorld } from './world.js';

// Types and programs are checked with the built packages, as `npm test` makes them.

/** Pages that a test of their own runs from top to bottom. */
const runElsewhere: Readonly<Record<string, string>> = {
  'docs/write-a-strategy.md': 'test/write-a-strategy.test.ts',
  // Its code is that of README.md.
  'README.zh.md': 'test/docs/translation.test.ts',
};
/** What programs print whose comments do not say it. */
const outputs: Readonly<Record<string, RegExp>> = {
  'README.md': /^20 \d\.\d{3}$[^]*evalLossAfter: \d/m,
};
const languages = new Set(['ts', 'js', 'json', 'jsonc', 'sh', 'yaml', 'text', '']);

const pages = await Promise.all((await pagePaths()).map(readPage));
const blocks = pages.flatMap((page) => page.blocks);
const library = await findTensorflow();
const needsLibrary = ({ text }: CodeBlock): boolean => text.includes("setBackend('whetstone')");

describe('the documentation', () => {
  let world: string;
  let env: NodeJS.ProcessEnv;
  const folderOf = ({ path }: Page) => join(world, 'pages', path);
  beforeAll(async () => {
    world = await mkdtemp(join(tmpdir(), 'whetstone-docs-'));
    env = await createWorld(world, 'folder' in library ? library.folder : null);
    for (const page of pages) {
      await mkdir(folderOf(page), { recursive: true });
      await writePage(page, folderOf(page));
    }
  });
  afterAll(() => rm(world, { recursive: true, force: true }));

  it('has code only in languages that are checked', () => {
    expect(blocks.length).toBeGreaterThan(30);
    expect(blocks.filter(({ language }) => !languages.has(language))).toEqual([]);
  });

  it('gives a reason for every program that is not run', () => {
    const isTooShort = (reason: string): boolean => reason.split(' ').length <= 4;
    expect(blocks.filter(({ notRun }) => notRun !== null && isTooShort(notRun))).toEqual([]);
  });

  it('has programs whose types are right', async () => {
    expect(formatProblems(await checkTypes(pages))).toEqual([]);
  }, 240_000);

  it('has commands and options that exist', async () => {
    expect(formatProblems((await Promise.all(pages.map(checkCommands))).flat())).toEqual([]);
  });

  it('has configurations that fit the schema', async () => {
    const checks = pages.map((page) => checkConfigurations(page, folderOf(page)));
    expect(formatProblems((await Promise.all(checks)).flat())).toEqual([]);
  });

  for (const page of pages.filter(({ path }) => runElsewhere[path] === undefined))
    for (const block of page.blocks.filter((one) => isProgram(one) && one.notRun === null))
      it.skipIf(needsLibrary(block) && !('folder' in library))(
        `has a program that runs: ${page.path}:${block.line}`,
        async () => {
          const settings = { folder: folderOf(page), cwd: world, env, expectedOutput: outputs[page.path] };
          expect(formatProblems(await checkExample(block, settings))).toEqual([]);
        },
        240_000,
      );
});
