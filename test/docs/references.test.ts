import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { repository } from '../support/execute.js';
import { checkDocstrings } from './check-docstrings.js';
import { checkPrintedCommands } from './check-printed-commands.js';
import { checkReferences, knownNames } from './check-references.js';
import { formatProblems, pagePaths, readPage } from './markdown.js';
import { repositoryFiles, sourceFiles } from './repository-files.js';

const files = repositoryFiles();
const sources = sourceFiles(files);
const pages = await Promise.all((await pagePaths()).map(readPage));

describe('names in documentation', () => {
  it('pages name links, files, identifiers and options that exist', () => {
    const known = knownNames(files, sources, pages);
    expect(known.identifiers.size).toBeGreaterThan(1000);
    expect(formatProblems(pages.flatMap((page) => checkReferences(page, known)))).toEqual([]);
  });

  it('comments name parameters, error codes, files and commands that exist', () => {
    // repository-rules.test.ts writes small repositories, whose files are not ours.
    const code = sources.filter(
      ({ path }) => /\.(?:ts|mjs|js)$/.test(path) && path !== 'test/repository-rules.test.ts',
    );
    expect(code.length).toBeGreaterThan(300);
    expect(formatProblems(code.flatMap((source) => checkDocstrings(source, files)))).toEqual([]);
  });

  it('messages and pages print commands that exist where they are read', () => {
    const texts = pages
      // The changes of earlier versions stay as they were written.
      .filter(({ path }) => path !== 'CHANGELOG.md')
      .map(({ path }) => ({ path, text: readFileSync(join(repository, path), 'utf8') }));
    const code = sources.filter(
      ({ path }) => /^(?:packages|examples|scripts)\//.test(path) && !path.includes('.test.'),
    );
    expect(code.length).toBeGreaterThan(300);
    expect(formatProblems([...texts, ...code].flatMap(checkPrintedCommands))).toEqual([]);
  });
});
