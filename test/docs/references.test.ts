import { describe, expect, it } from 'vitest';
import { checkDocstrings } from './check-docstrings.js';
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
});
