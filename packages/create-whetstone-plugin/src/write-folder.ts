import { randomBytes } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CreateError } from './create-error.js';

const exists = (folder: string, cause?: unknown): CreateError =>
  new CreateError('OUTPUT_EXISTS', 'The folder of the package exists.', {
    expected: 'a new or an empty folder',
    found: folder,
    hint: 'Choose another name, or move what is there.',
    cause,
  });

/** @throws `OUTPUT_EXISTS` if there is anything but an empty folder */
export function checkFree(folder: string): void {
  const found = lstatSync(folder, { throwIfNoEntry: false });
  if (found !== undefined && (!found.isDirectory() || readdirSync(folder).length > 0)) throw exists(folder);
}

/**
 * Writes the files of a new folder: all of them, or none. They are written beside the folder, which is then renamed.
 *
 * @param files texts by their paths in the folder, with slashes
 * @throws `OUTPUT_EXISTS` if the folder exists and is not empty
 */
export function writeFolder(folder: string, files: ReadonlyMap<string, string>): void {
  checkFree(folder);
  const temporary = join(dirname(folder), `.${basename(folder)}.${randomBytes(6).toString('hex')}.partial`);
  try {
    for (const [path, text] of files) {
      const file = join(temporary, ...path.split('/'));
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
    move(temporary, folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Renames a folder to a new or an empty one. @throws `OUTPUT_EXISTS` if something was written there in the meantime */
function move(from: string, to: string): void {
  try {
    // Windows does not rename to an empty folder.
    if (existsSync(to)) rmdirSync(to);
    renameSync(from, to);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    throw ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(code) ? exists(to, error) : error;
  }
}
