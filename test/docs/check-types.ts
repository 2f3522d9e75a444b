import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { execute, repository } from '../support/execute.js';
import type { CodeBlock, DocumentationProblem, Page } from './markdown.js';

const shared = [
  '--noEmit',
  '--strict',
  '--target',
  'es2022',
  '--module',
  'nodenext',
  '--types',
  'node',
  '--skipLibCheck',
];
/** Options of the compiler by language: JavaScript needs no types of its own parameters. */
const compilerOptions = {
  ts: ['--noUnusedLocals', '--experimentalDecorators'],
  js: ['--allowJs', '--checkJs', '--noImplicitAny', 'false'],
} as const;

/** Name of the file that a block is checked and run as. */
export const fileOfBlock = ({ file, language, line }: CodeBlock): string => file ?? `line-${line}.${language}`;

export const isProgram = ({ language }: CodeBlock): boolean => ['ts', 'mts', 'js', 'mjs'].includes(language);

/** Writes the programs of a page and its named files; empty lines before each give it the page's line numbers. */
export async function writePage(page: Page, folder: string): Promise<void> {
  for (const block of page.blocks.filter((one) => one.file !== null || isProgram(one))) {
    const path = join(folder, fileOfBlock(block));
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, (isProgram(block) ? '\n'.repeat(block.line) : '') + block.text);
  }
}

/** Checks the types of all programs on the pages, against the built packages. */
export async function checkTypes(pages: readonly Page[]): Promise<DocumentationProblem[]> {
  // The compiler names files by their real paths.
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'whetstone-docs-types-')));
  try {
    await symlink(join(repository, 'node_modules'), join(folder, 'node_modules'), 'junction');
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    const pageOf = new Map<string, string>();
    const files = { ts: [] as string[], js: [] as string[] };
    for (const [index, page] of pages.entries()) {
      const own = `page-${index}`;
      await writePage(page, join(folder, own));
      for (const block of page.blocks.filter(isProgram)) {
        const file = `${own}/${fileOfBlock(block)}`;
        pageOf.set(file, page.path);
        files[block.language.endsWith('ts') ? 'ts' : 'js'].push(file);
      }
    }
    const problems: DocumentationProblem[] = [];
    for (const language of ['ts', 'js'] as const) {
      if (files[language].length === 0) continue;
      const tsc = join(repository, 'node_modules/typescript/bin/tsc');
      const parameters = [tsc, ...shared, ...compilerOptions[language], '--pretty', 'false', ...files[language]];
      const { code, stdout, stderr } = await execute(process.execPath, parameters, folder);
      const found = [...stdout.matchAll(/^(.+?)\((\d+),\d+\): (error TS.+(?:\n {2}.+)*)/gm)];
      if (code !== 0 && found.length === 0) throw new Error(`The compiler failed: ${stdout}${stderr}`);
      for (const [, file = '', line, message = ''] of found) {
        const path = relative(folder, join(folder, file)).replaceAll('\\', '/');
        problems.push({ page: pageOf.get(path) ?? path, line: Number(line), message });
      }
    }
    return problems;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
