import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/**
 * Identifies this machine in names, because the process ids of other machines on a shared disk are meaningless here.
 */
const machine = Buffer.from(hostname()).toString('hex').slice(-8) || '0';

/**
 * Returns a unique name in the folder of `path`. It starts with a dot, so that globs ignore it, and contains the
 * machine and process that write it.
 */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${machine}-${process.pid}-${randomBytes(6).toString('hex')}.partial`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/**
 * Removes temporary files and folders of `path` whose process on this machine has ended. Those of running processes and
 * of other machines are not touched.
 */
export async function removeStale(path: string): Promise<void> {
  const prefix = `.${basename(path)}.${machine}-`;
  for (const name of await readdir(dirname(path)).catch(() => [])) {
    const pid = name.startsWith(prefix)
      ? /^(\d+)-[0-9a-f]{12}\.partial$/.exec(name.slice(prefix.length))?.[1]
      : undefined;
    if (pid !== undefined && !isAlive(Number(pid)))
      await rm(join(dirname(path), name), { recursive: true, force: true });
  }
}
