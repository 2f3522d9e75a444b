import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileError, makeFolder } from '../files/index.js';
import { writeJson } from './manifest.js';

/** A checkpoint in a run's folder. */
export interface CheckpointFolder {
  readonly step: number;
  readonly folder: string;
}

const FINAL_NAME = /^checkpoint-(\d+)$/;
const PARTIAL_NAME = /^\.(checkpoint-\d+|adapter|model)\.[0-9a-f]+\.partial$/;

export const checkpointFolder = (root: string, step: number): string => join(root, `checkpoint-${step}`);

/** Returns the checkpoints in a run's folder, newest first. */
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
 * Writes a folder atomically: `fill` writes into a temporary folder, which is synced and renamed to `folder`. After a
 * crash, `folder` is either the old folder or the complete new one. If an error occurs, the temporary folder is
 * removed.
 *
 * @throws `DISK_FULL` if there is not enough space
 * @throws the other errors of `fileError`, and those of `fill`
 */
export async function writeFolder(folder: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const root = dirname(folder);
  const hiddenName = (): string => join(root, `.${basename(folder)}.${randomBytes(6).toString('hex')}.partial`);
  const temporary = hiddenName();
  try {
    await makeFolder(temporary);
    await fill(temporary);
    await syncFolder(temporary);
    await replaceFolder(temporary, folder, hiddenName());
    await syncFolder(root);
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true });
    // Errors that `fill` throws for other reasons than the file system are passed on unchanged.
    throw typeof (cause as { code?: unknown } | null)?.code === 'string' ? fileError(cause, folder) : cause;
  }
}

/** Renames `from` to `to`. An existing folder is first renamed to `aside`, and removed at the end. */
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

/** Syncs the entries of a folder to disk, if the operating system supports it. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // Windows cannot open folders. Its renames are durable anyway.
  }
}

/** Removes the temporary folders that killed processes left, and completes a move of {@link abandon}. */
export async function cleanCheckpoints(root: string): Promise<void> {
  for (const name of await readdir(root).catch(() => [])) {
    if (PARTIAL_NAME.test(name)) await rm(join(root, name), { recursive: true, force: true });
  }
  await completeAbandon(root);
}

const ABANDONED_NAME = /^abandoned-(\d+)$/;
/** Returns whether a folder contains abandoned checkpoints of the run in its parent. */
export const isAbandoned = (folder: string): boolean => ABANDONED_NAME.test(basename(folder));
/** Lists what is being moved, so that a move that was killed is completed. */
const MOVES_FILE = '.abandoned.json';

/**
 * Moves folders of `root` into a new folder `abandoned-<n>/`, where nothing chooses, counts or deletes them. If the
 * process is killed, {@link cleanCheckpoints} moves the rest. Returns the new folder.
 *
 * @throws the errors of `fileError`
 */
export async function abandon(root: string, folders: readonly string[]): Promise<string> {
  const numbers = (await readdir(root)).map((name) => Number(ABANDONED_NAME.exec(name)?.[1] ?? 0));
  const target = `abandoned-${Math.max(0, ...numbers) + 1}`;
  try {
    await writeJson(join(root, MOVES_FILE), { target, names: folders.map((folder) => basename(folder)) });
    await completeAbandon(root);
  } catch (cause) {
    throw fileError(cause, join(root, target));
  }
  return join(root, target);
}

async function completeAbandon(root: string): Promise<void> {
  const file = join(root, MOVES_FILE);
  const text = await readFile(file, 'utf8').catch(() => null);
  if (text === null) return;
  const { target, names } = JSON.parse(text) as { readonly target: string; readonly names: readonly string[] };
  await makeFolder(join(root, target));
  for (const name of names) {
    if (existsSync(join(root, name))) await rename(join(root, name), join(root, target, name));
  }
  await syncFolder(join(root, target));
  await rm(file);
  await syncFolder(root);
}

/**
 * Removes the oldest checkpoints until `limit` remain. Those of `protectedSteps` are never removed, but are counted.
 */
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
    if (!kept.has(step)) await removeCheckpoint(root, folder);
  }
}

/** Removes a checkpoint. It is renamed first, so that a crash leaves no incomplete one under its final name. */
async function removeCheckpoint(root: string, folder: string): Promise<void> {
  const aside = join(root, `.${basename(folder)}.${randomBytes(6).toString('hex')}.partial`);
  await rename(folder, aside);
  await rm(aside, { recursive: true, force: true });
}
