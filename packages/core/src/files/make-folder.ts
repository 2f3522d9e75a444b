import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

const codeOf = (error: unknown): unknown => (error as { readonly code?: unknown } | null)?.code;

/**
 * Creates a folder and its parents. Node's `mkdir` with `recursive` does not return if a file system has the parent but
 * reports "no such file" for the child (`/proc`). This function throws that error instead.
 */
export async function makeFolder(path: string): Promise<void> {
  const folder = resolve(path);
  try {
    await mkdir(folder);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') {
      // Succeeds if the path is a folder, and throws EEXIST again if it is a file.
      return void (await mkdir(folder, { recursive: true }));
    }
    if (codeOf(error) !== 'ENOENT' || dirname(folder) === folder) throw error;
    await makeFolder(dirname(folder));
    await mkdir(folder);
  }
}
