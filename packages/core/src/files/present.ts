import { statSync, type Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { fileError, isMissing } from './errors.js';

/**
 * Returns what `read` returns, or `otherwise` if the file does not exist. Only "no such file" means that: a file that
 * cannot be read is an error, so that no result depends on it in silence.
 *
 * @throws the errors of {@link fileError} except `FILE_NOT_FOUND`
 */
export async function unlessMissing<T, U>(file: string, read: () => Promise<T>, otherwise: U): Promise<T | U> {
  try {
    return await read();
  } catch (cause) {
    if (isMissing(cause)) return otherwise;
    throw fileError(cause, file);
  }
}

/** Returns the properties of a file or folder; null if it does not exist. Follows links. */
export const statOf = (path: string): Promise<Stats | null> => unlessMissing(path, () => stat(path), null);

/** Returns whether a path is a file, as opposed to a folder or nothing. */
export const isFile = async (path: string): Promise<boolean> => (await statOf(path))?.isFile() ?? false;

/** Returns the names in a folder; none if it does not exist. */
export const namesIn = (folder: string): Promise<readonly string[]> => unlessMissing(folder, () => readdir(folder), []);

/**
 * Returns whether a file or folder exists. In contrast to Node's `existsSync`, a path that cannot be read is an error.
 *
 * @throws the errors of {@link fileError} except `FILE_NOT_FOUND`
 */
export function exists(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    if (isMissing(cause)) return false;
    throw fileError(cause, path);
  }
}
