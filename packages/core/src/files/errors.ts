import { isWhetstoneError, WhetstoneError } from '../contract/index.js';
import { messageOf } from '../util/index.js';

/** Returns the `code` of an error of the file system, such as `ENOENT`. */
export const codeOf = (cause: unknown): unknown =>
  typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;

/**
 * Converts an error of the file system to a `WhetstoneError` with the code `FILE_NOT_FOUND`, `DISK_FULL` or
 * `FILE_UNREADABLE`. Its place is `file`. A `WhetstoneError` is returned unchanged.
 */
export function fileError(cause: unknown, file: string): WhetstoneError {
  if (isWhetstoneError(cause)) return cause;
  const code = codeOf(cause);
  const place = { file };
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new WhetstoneError('FILE_NOT_FOUND', 'The file does not exist.', { place, cause });
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new WhetstoneError(
      'DISK_FULL',
      'There is not enough space on the disk. No incomplete file was left under the final name.',
      { place, hint: 'Free some space, or write to another disk.', cause },
    );
  }
  return new WhetstoneError('FILE_UNREADABLE', messageOf(cause), {
    place,
    cause,
  });
}
