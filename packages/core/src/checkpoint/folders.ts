import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { WhetstoneError } from '../contract/errors.js';
import {
  cleanFolder,
  exists,
  makeFolder,
  move,
  namesIn,
  readTextIfPresent,
  remove,
  replacedFolders,
  syncFolder,
  temporaryName,
  writeError,
} from '../files/index.js';
import { isRecord } from '../util/index.js';
import { writeJson } from './manifest.js';

/** A checkpoint in a run's folder. */
export interface CheckpointFolder {
  readonly step: number;
  readonly folder: string;
}

const FINAL_NAME = /^checkpoint-(\d+)$/;

export const checkpointFolder = (root: string, step: number): string => join(root, `checkpoint-${step}`);

/**
 * Returns the checkpoints in a run's folder, newest first. One that was being replaced when the process was killed is
 * under its temporary name until {@link cleanCheckpoints} restores it.
 *
 * @throws the errors of `fileError` if the folder cannot be read
 */
export async function listCheckpoints(root: string): Promise<CheckpointFolder[]> {
  const all = [
    ...(await namesIn(root)).map((name) => [name, join(root, name)] as const),
    ...(await replacedFolders(root)),
  ];
  return all
    .flatMap(([name, folder]) => {
      const step = FINAL_NAME.exec(name)?.[1];
      return step === undefined ? [] : [{ step: Number(step), folder }];
    })
    .toSorted((a, b) => b.step - a.step);
}

/** Runs operations on the files of a folder. @throws the errors of `writeError` */
async function changing<T>(folder: string, change: () => Promise<T>): Promise<T> {
  try {
    return await change();
  } catch (cause) {
    throw writeError(cause, folder);
  }
}

/**
 * Repairs what a killed process left in a run's folder: removes temporary files and folders, restores checkpoints that
 * were being replaced, and completes a move of {@link abandon}.
 *
 * @throws the errors of `writeError`
 */
export async function cleanCheckpoints(root: string): Promise<void> {
  await cleanFolder(root);
  await changing(root, () => completeAbandon(root));
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
  const numbers = (await namesIn(root)).map((name) => Number(ABANDONED_NAME.exec(name)?.[1] ?? 0));
  const target = `abandoned-${Math.max(0, ...numbers) + 1}`;
  return changing(join(root, target), async () => {
    await writeJson(join(root, MOVES_FILE), { target, names: folders.map((folder) => basename(folder)) });
    await completeAbandon(root);
    return join(root, target);
  });
}

async function completeAbandon(root: string): Promise<void> {
  const file = join(root, MOVES_FILE);
  const text = await readTextIfPresent(file);
  if (text === null) return;
  const { target, names } = parseMoves(text, file);
  await makeFolder(join(root, target));
  for (const name of names) {
    if (exists(join(root, name))) await move(join(root, name), join(root, target, name));
  }
  await syncFolder(join(root, target));
  await rm(file);
  await syncFolder(root);
}

/** @throws `CHECKPOINT_INVALID` if the list was damaged; then nothing is moved */
function parseMoves(text: string, file: string): { readonly target: string; readonly names: readonly string[] } {
  const isName = (value: unknown): value is string => typeof value === 'string' && basename(value) === value;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  if (isRecord(value)) {
    const { target, names } = value;
    if (isName(target) && ABANDONED_NAME.test(target) && Array.isArray(names) && names.every(isName))
      return { target, names };
  }
  throw new WhetstoneError('CHECKPOINT_INVALID', 'The list of checkpoints that were being moved is damaged.', {
    place: { file },
    expected: 'the names of folders, and that of the folder into which they are moved',
    hint: 'Move the checkpoints that are not to be used out of the folder, and remove this file.',
  });
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
    if (!kept.has(step)) await removeCheckpoint(folder);
  }
}

/** Removes a checkpoint. It is renamed first, so that a crash leaves no incomplete one under its final name. */
async function removeCheckpoint(folder: string): Promise<void> {
  const aside = temporaryName(folder);
  await changing(folder, async () => {
    await move(folder, aside);
    await remove(aside);
  });
}
