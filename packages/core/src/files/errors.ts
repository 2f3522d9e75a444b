import { isWhetstoneError, WhetstoneError } from '../contract/index.js';
import { messageOf } from '../util/index.js';

/** Returns the `code` of an error of the file system, such as `ENOENT`. */
export const codeOf = (cause: unknown): unknown =>
  typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;

/** Returns whether an error of the file system says that the file does not exist, and not that it cannot be read. */
export const isMissing = (cause: unknown): boolean => codeOf(cause) === 'ENOENT' || codeOf(cause) === 'ENOTDIR';

/** Returns whether an error says that the process (EMFILE) or the system (ENFILE) cannot open more files. */
const isFileLimit = (cause: unknown): boolean =>
  ['EMFILE', 'ENFILE'].includes(String(codeOf(cause))) ||
  (cause instanceof Error && /^E[MN]FILE\b/.test(cause.message));

/**
 * Returns the error of a process that cannot open more files, if that is what an error or one of its causes says; null
 * otherwise. Also imports fail so, and name a file of a package.
 */
function fileLimitError(error: unknown): WhetstoneError | null {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (isFileLimit(cause))
      return new WhetstoneError('TOO_MANY_FILES', `No more files can be opened: ${messageOf(cause)}`, {
        hint: 'Allow more open files, for example with: ulimit -n 4096',
        cause,
      });
  return null;
}

/**
 * Converts an error of the file system to a `WhetstoneError` with the code `FILE_NOT_FOUND`, `DISK_FULL`,
 * `TOO_MANY_FILES` or `FILE_UNREADABLE`. Its place is `file`. A `WhetstoneError` is returned unchanged.
 */
export function fileError(cause: unknown, file: string | undefined): WhetstoneError {
  if (isWhetstoneError(cause)) return cause;
  const code = codeOf(cause);
  const place = file === undefined ? undefined : { file };
  if (isMissing(cause)) return new WhetstoneError('FILE_NOT_FOUND', 'The file does not exist.', { place, cause });
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new WhetstoneError(
      'DISK_FULL',
      'There is not enough space on the disk. No incomplete file was left under the final name.',
      { place, hint: 'Free some space, or write to another disk.', cause },
    );
  }
  return (
    fileLimitError(cause) ??
    new WhetstoneError('FILE_UNREADABLE', messageOf(cause), {
      place,
      cause,
    })
  );
}

/** Returns whether an error comes from the file system: an error of the operating system with a code. */
const isSystemError = (cause: unknown): boolean => /^E[A-Z0-9]+$/.test(String(codeOf(cause)));

/**
 * Converts an error of the file system while `file` was written to a `WhetstoneError` with the code `FILE_NOT_FOUND`,
 * `DISK_FULL`, `TOO_MANY_FILES` or `FILE_UNWRITABLE`. Other errors are returned unchanged: they come from what was to
 * be written.
 */
export function writeError(cause: unknown, file: string | undefined): unknown {
  if (isWhetstoneError(cause) || !isSystemError(cause)) return cause;
  const error = fileError(cause, file);
  if (error.code !== 'FILE_UNREADABLE') return error;
  return new WhetstoneError('FILE_UNWRITABLE', `Nothing can be written here: ${messageOf(cause)}`, {
    place: error.place,
    hint: 'Check the permissions of the folder and the disk, or write to another folder.',
    cause,
  });
}

/** Runs operations that write `file`. @throws the errors of {@link writeError} */
export function withWriteErrors<T>(file: string, write: () => T): T {
  try {
    return write();
  } catch (cause) {
    throw writeError(cause, file);
  }
}

/** System calls that read. The others that name a file change it. */
const READING_CALLS = ['access', 'lstat', 'open', 'opendir', 'read', 'readlink', 'realpath', 'scandir', 'stat'];
/** Errors that only files have, if they name none. */
const DISK_CODES = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'];

/**
 * Returns the error with a code for an error of the operating system that no other code converted: one that names a
 * file, or says that the disk is full or that no more files can be opened. Any other error is returned unchanged.
 */
export function uncaughtFileError(error: unknown): unknown {
  if (isWhetstoneError(error)) return error;
  const limit = fileLimitError(error);
  if (limit !== null || !isSystemError(error)) return limit ?? error;
  const { path, syscall = '', code } = error as NodeJS.ErrnoException;
  const file = typeof path === 'string' ? path : undefined;
  // A program that cannot be started has a path, too.
  if (file === undefined ? !DISK_CODES.includes(String(code)) : syscall.startsWith('spawn')) return error;
  return READING_CALLS.includes(syscall) ? fileError(error, file) : writeError(error, file);
}
