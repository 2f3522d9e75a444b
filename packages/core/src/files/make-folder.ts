import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

const codeOf = (error: unknown): unknown => (error as { readonly code?: unknown } | null)?.code;

/**
 * Makes a folder and those above it. Node's own recursive way tries for ever where a file system has the parent but
 * refuses the child with "no such file" (`/proc`); this one passes that error on.
 */
export async function makeFolder(path: string): Promise<void> {
  const folder = resolve(path);
  try {
    await mkdir(folder);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') {
      // A folder that is there already is what was wanted; a file is not, and listing it says so.
      return void (await mkdir(folder, { recursive: true }));
    }
    if (codeOf(error) !== 'ENOENT' || dirname(folder) === folder) throw error;
    await makeFolder(dirname(folder));
    await mkdir(folder);
  }
}
