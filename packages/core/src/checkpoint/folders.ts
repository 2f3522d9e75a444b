import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileError, makeFolder } from '../files/index.js';

export interface CheckpointFolder {
  readonly step: number;
  readonly folder: string;
}

const FINAL_NAME = /^checkpoint-(\d+)$/;
const PARTIAL_NAME = /^\.(checkpoint-\d+|adapter|model)\.[0-9a-f]+\.partial$/;

export const checkpointFolder = (root: string, step: number): string => join(root, `checkpoint-${step}`);

/** Checkpoints of a run's folder, the newest first. */
export async function listCheckpoints(root: string): Promise<CheckpointFolder[]> {
  const names = await readdir(root).catch(() => []);
  return names
    .flatMap((name) => {
      const step = FINAL_NAME.exec(name)?.[1];
      return step === undefined ? [] : [{ step: Number(step), folder: join(root, name) }];
    })
    .toSorted((a, b) => b.step - a.step);
}

/**
 * Fills a folder under a temporary name, makes it durable and renames it: under `folder` stands the old one or the
 * whole new one.
 *
 * @throws `DISK_FULL` and others of `fileError`; the temporary folder is removed.
 */
export async function writeFolder(folder: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const root = dirname(folder);
  const hidden = (): string => join(root, `.${basename(folder)}.${randomBytes(6).toString('hex')}.partial`);
  const temporary = hidden();
  try {
    await makeFolder(temporary);
    await fill(temporary);
    await syncFolder(temporary);
    await replaceFolder(temporary, folder, hidden());
    await syncFolder(root);
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true });
    // What a strategy throws while it is saved is no error of files.
    throw typeof (cause as { code?: unknown } | null)?.code === 'string' ? fileError(cause, folder) : cause;
  }
}

/** Renames `from` to `to`; a folder already there is moved aside first and removed last. */
async function replaceFolder(from: string, to: string, aside: string): Promise<void> {
  const moved = await rename(to, aside).then(
    () => true,
    () => false,
  );
  try {
    await rename(from, to);
  } catch (error) {
    if (moved) await rename(aside, to);
    throw error;
  }
  if (moved) await rm(aside, { recursive: true, force: true });
}

/** Makes the names in a folder durable, where the system can. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // Windows opens no folders; its renames are durable without.
  }
}

/** Removes what a killed process left unfinished. */
export async function removePartial(root: string): Promise<void> {
  for (const name of await readdir(root).catch(() => [])) {
    if (PARTIAL_NAME.test(name)) await rm(join(root, name), { recursive: true, force: true });
  }
}

/** Removes the oldest checkpoints beyond `limit`; those of `protectedSteps` stay and count. */
export async function pruneCheckpoints(
  root: string,
  limit: number | null,
  protectedSteps: ReadonlySet<number>,
): Promise<void> {
  if (limit === null) return;
  const all = await listCheckpoints(root);
  const kept = new Set(all.filter(({ step }) => protectedSteps.has(step)).map(({ step }) => step));
  for (const { step } of all) if (kept.size < limit) kept.add(step);
  for (const { step, folder } of all) {
    if (kept.has(step)) continue;
    // First out of sight, so that a crash leaves no torn checkpoint under its final name.
    const aside = join(root, `.${basename(folder)}.${randomBytes(6).toString('hex')}.partial`);
    await rename(folder, aside);
    await rm(aside, { recursive: true, force: true });
  }
}
