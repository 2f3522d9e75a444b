import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** Tells processes of other machines on one disk from ours: their ids mean nothing here. */
const machine = Buffer.from(hostname()).toString('hex').slice(-8) || '0';

/**
 * A name beside `path` that nobody else uses; it starts with a dot so that globs of the folder leave it out, and says
 * who writes it.
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
 * Removes what writers of `path` that were killed on this machine have left beside it. What a living process writes
 * stays.
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
