import { statSync } from 'node:fs';
import path from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { WhetstoneError } from '@whetstone/core/contract';
import { statOf } from '@whetstone/core/files';

/** Extensions of the files that are read from a folder. */
const DATA_FILE_EXTENSIONS = ['jsonl', 'ndjson', 'json', 'csv', 'tsv', 'parquet', 'txt'] as const;

const folderPattern = `**/*.{${DATA_FILE_EXTENSIONS.join(',')}}{,.gz}`;

/** Returns a pattern with slashes. In a pattern of Windows, a backslash separates folders; elsewhere it escapes. */
export const slashed = (pattern: string, separator: string = path.sep): string =>
  separator === '\\' ? pattern.replaceAll('\\', '/') : pattern;

async function expand(pattern: string, baseFolder: string): Promise<string[]> {
  const literal = path.resolve(baseFolder, pattern);
  const found = await statOf(literal);
  if (found !== null) {
    if (!found.isDirectory()) return [literal];
    return glob(folderPattern, { cwd: literal, absolute: true });
  }
  if (!isDynamicPattern(pattern)) return [];
  return glob(slashed(pattern), { cwd: baseFolder, absolute: true });
}

/**
 * Expands paths, folders and globs to files. Relative patterns start from `baseFolder`. A path that exists is used as
 * it is, even if it looks like a glob; a folder is expanded to all data files in it. The files of a pattern are sorted
 * by name, and no file is returned twice.
 *
 * @throws `FILE_NOT_FOUND` if a pattern matches no file
 */
export async function expandFiles(patterns: readonly string[], baseFolder: string): Promise<string[]> {
  const files = new Set<string>();
  for (const pattern of patterns) {
    const found = (await expand(pattern, baseFolder)).map((file) => path.normalize(file)).sort();
    if (found.length === 0) {
      throw new WhetstoneError('FILE_NOT_FOUND', `No data file was found at "${pattern}".`, {
        place: { file: path.resolve(baseFolder, pattern) },
        expected: 'a file, a folder with data files, or a glob that matches at least one file',
        hint: `Relative paths start from ${baseFolder}.`,
      });
    }
    for (const file of found) files.add(file);
  }
  return [...files];
}

/** Returns the total size of files in bytes. A missing file has none. */
export const sizeOfFiles = (files: readonly string[]): number =>
  files.reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);
