import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { WhetstoneError } from '@whetstone/core/contract';

/** Endings of files that are read when a folder is named. */
const DATA_FILE_ENDINGS = ['jsonl', 'ndjson', 'json', 'csv', 'tsv', 'parquet', 'txt'] as const;

const folderPattern = `**/*.{${DATA_FILE_ENDINGS.join(',')}}{,.gz}`;

async function expand(pattern: string, baseFolder: string): Promise<string[]> {
  const literal = path.resolve(baseFolder, pattern);
  if (existsSync(literal)) {
    if (!statSync(literal).isDirectory()) return [literal];
    return glob(folderPattern, { cwd: literal, absolute: true });
  }
  if (!isDynamicPattern(pattern)) return [];
  return glob(pattern, { cwd: baseFolder, absolute: true });
}

/**
 * The files that paths, globs and folders stand for, relative ones from `baseFolder`. A path that exists is taken as it
 * is, even where it looks like a glob; a folder stands for every data file beneath it. Files of one pattern come in the
 * order of their names, each file once.
 *
 * @throws FILE_NOT_FOUND where a pattern matches nothing
 */
export async function expandFiles(patterns: readonly string[], baseFolder: string): Promise<string[]> {
  const files = new Set<string>();
  for (const pattern of patterns) {
    const found = (await expand(pattern, baseFolder)).map((file) => path.normalize(file)).sort();
    if (found.length === 0) {
      throw new WhetstoneError('FILE_NOT_FOUND', `No data file is found at "${pattern}".`, {
        place: { file: path.resolve(baseFolder, pattern) },
        expected: 'a file, a folder of data files, or a glob that matches some',
        hint: `Relative paths start from ${baseFolder}.`,
      });
    }
    for (const file of found) files.add(file);
  }
  return [...files];
}
