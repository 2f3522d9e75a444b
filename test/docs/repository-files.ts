import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { repository } from '../support/execute.js';

const skipped = new Set(['node_modules', 'dist', 'coverage', 'runs', '.git', 'fixtures']);

/** Paths of all files of the repository, relative to it, with slashes; what is installed or built is left out. */
export function repositoryFiles(folder: string = repository): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (skipped.has(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? repositoryFiles(path) : [relative(repository, path).replaceAll('\\', '/')];
  });
}

/** A file of source code. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** The source files of the repository. The checks of the documentation are left out: they hold wrong names. */
export function sourceFiles(files: readonly string[] = repositoryFiles()): SourceFile[] {
  return files
    .filter((path) => /\.(?:ts|mjs|js|json|py|yml)$/.test(path) && !/^test\/(?:docs\/|golden\/.*\.json$)/.test(path))
    .map((path) => ({ path, text: readFileSync(join(repository, path), 'utf8') }));
}

/** Comments on lines of their own: elsewhere `/*` may be the beginning of a comment or a part of a glob. */
export const commentPattern = /^[ \t]*(?:\/\*[^]*?\*\/|\/\/.*$)/gm;

/** Source code without its comments. */
export const withoutComments = (text: string): string => text.replaceAll(commentPattern, '');

/** Whether a path that a text names exists: whole, from the text's own folder, or by its last parts. */
export function createPathLookup(files: readonly string[]): (path: string, folder: string) => boolean {
  const known = new Set(files);
  return (path, folder) => {
    const [first, ...rest] = path.split('/');
    return (
      known.has(path) ||
      known.has(join(folder, path).replaceAll('\\', '/')) ||
      // `core/training/train-step.ts` is short for a file of that package.
      known.has(`packages/${first}/src/${rest.join('/')}`) ||
      files.some((file) => file.endsWith(`/${path.replace(/^(?:\.\/)+/, '')}`))
    );
  };
}
