import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { repository } from '../support/execute.js';

/** A fenced code block of a page. */
export interface CodeBlock {
  /** The page, relative to the repository. */
  readonly page: string;
  /** Line of the opening fence, from 1: the first line of the text is the next one. */
  readonly line: number;
  /** First word of the info string: `ts`, `sh`, … */
  readonly language: string;
  /** Name of the file that the block is, from `file=` in the info string. */
  readonly file: string | null;
  /** Why the block is not run, from the comment `<!-- not run: reason -->` on the line before. */
  readonly notRun: string | null;
  readonly text: string;
}

/** A page of documentation: its code blocks, and its other lines. */
export interface Page {
  readonly path: string;
  readonly blocks: readonly CodeBlock[];
  /** The lines outside of code blocks; those of code blocks are empty. */
  readonly prose: readonly string[];
}

/** Something wrong with a page. */
export interface DocumentationProblem {
  readonly page: string;
  readonly line: number;
  readonly message: string;
}

/** `page:line: message`, one per line, in the order of the pages. */
export const formatProblems = (problems: readonly DocumentationProblem[]): string[] =>
  problems
    .toSorted((one, other) => one.page.localeCompare(other.page) || one.line - other.line)
    .map(({ page, line, message }) => `${page}:${line}: ${message}`);

const notPages = new Set(['node_modules', 'dist', 'fixtures', 'coverage', 'runs', '.git']);

/** Paths of all Markdown files of the repository, relative to it. */
export async function pagePaths(folder: string = repository): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) => {
      if (notPages.has(entry.name)) return [];
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return pagePaths(path);
      return entry.name.endsWith('.md') ? [relative(repository, path).replaceAll('\\', '/')] : [];
    }),
  );
  return found.flat().toSorted();
}

/** Reads a page by its path relative to the repository. */
export async function readPage(path: string): Promise<Page> {
  return parsePage(path, await readFile(join(repository, path), 'utf8'));
}

/** Splits a page into code blocks and prose. A fence that is never closed ends with the page. */
export function parsePage(path: string, text: string): Page {
  const lines = text.split('\n');
  const prose: string[] = [];
  const blocks: CodeBlock[] = [];
  for (let index = 0; index < lines.length; index++) {
    const fence = /^ {0,3}(`{3,})\s*(.*)$/.exec(lines[index] ?? '');
    if (fence === null) {
      prose.push(lines[index] ?? '');
      continue;
    }
    const [, marks = '', info = ''] = fence;
    const isEnd = (line: string) => line.trim().startsWith(marks) && line.trim().replaceAll('`', '') === '';
    const length = lines.slice(index + 1).findIndex(isEnd);
    const end = length < 0 ? lines.length : index + 1 + length;
    blocks.push({
      page: path,
      line: index + 1,
      language: info.split(/\s+/)[0] ?? '',
      file: /(?:^|\s)file=(\S+)/.exec(info)?.[1] ?? null,
      notRun: /^<!-- not run: (.+) -->$/.exec(lines[index - 1]?.trim() ?? '')?.[1] ?? null,
      text: lines.slice(index + 1, end).join('\n'),
    });
    for (; index < end; index++) prose.push('');
    if (index < lines.length) prose.push('');
  }
  return { path, blocks, prose };
}

/** The inline code of a page, with its line. */
export function inlineCode(page: Page): { readonly line: number; readonly code: string }[] {
  return page.prose.flatMap((text, index) =>
    [...text.matchAll(/(?<!`)`([^`\n]+)`(?!`)/g)].map(([, code = '']) => ({ line: index + 1, code })),
  );
}
