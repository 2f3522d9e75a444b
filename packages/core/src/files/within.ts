import nativePath, { type PlatformPath } from 'node:path';

/**
 * Returns whether an absolute path is a folder or within it.
 *
 * @param path the functions for paths; by default, those of this system
 */
export function isWithin(folder: string, child: string, path: PlatformPath = nativePath): boolean {
  const way = path.relative(folder, child);
  // Between two drives of Windows, there is no relative path.
  return way !== '..' && !way.startsWith(`..${path.sep}`) && !path.isAbsolute(way);
}
