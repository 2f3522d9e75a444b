import { readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { WhetstoneError, type BatchSource } from '../contract/index.js';
import type { ResolvedConfig } from '../config/types.js';
import { forgetError, isAbandoned } from '../checkpoint/index.js';
import {
  checkWritable,
  exists,
  fileError,
  isWithin,
  makeFolder,
  noLock,
  readTextIfPresent,
  writeAtomically,
  writeError,
  writeText,
  type FolderLock,
} from '../files/index.js';
import { isRecord } from '../util/index.js';
import { unfinishedRunIn, type LockLogger } from './output-lock.js';
import { emptyFolder, endOverwrite, isOverwriteUnfinished } from './overwrite.js';

/** The file that marks a folder as the output of a run. */
const RESOLVED_CONFIG_FILE = 'config.resolved.json';

async function entriesOf(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.'));
  } catch (cause) {
    const code = (cause as { code?: unknown }).code;
    if (code === 'ENOENT') return [];
    if (code === 'ENOTDIR')
      throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder is a file.', { place: { file: folder } });
    throw fileError(cause, folder);
  }
}

/** Returns whether the run in the folder is resumed, as opposed to one in another folder. */
const resumesRunIn = (folder: string, resume: ResolvedConfig['training']['resumeFromCheckpoint']): boolean =>
  typeof resume === 'string' ? isWithin(folder, resume) : resume === true;

/** The settings that name the output folder, or what of it is kept. */
const OF_THE_OUTPUT = new Set(['output', 'resumeFromCheckpoint', 'baseFolder']);

/** Returns the first file or folder that a configuration names and that is within `folder`; null if there is none. */
function inputWithin(folder: string, value: unknown, baseFolder: string): string | null {
  if (typeof value === 'string') {
    const path = resolve(baseFolder, value);
    return value !== '' && !value.includes('\0') && isWithin(folder, path) && exists(path) ? path : null;
  }
  const items = Array.isArray(value)
    ? value
    : isRecord(value)
      ? Object.entries(value).flatMap(([key, item]) => (OF_THE_OUTPUT.has(key) ? [] : [item]))
      : [];
  for (const item of items) {
    const found = inputWithin(folder, item, baseFolder);
    if (found !== null) return found;
  }
  return null;
}

/** Checks that a run does not read what it removes. @throws `OUTPUT_EXISTS` */
function checkInputs(config: OutputSettings, folder: string): void {
  const input = inputWithin(folder, config, config.baseFolder);
  if (input === null) return;
  throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder contains an input of the run and is not overwritten.', {
    place: { file: folder },
    found: input,
    hint: 'Choose another output.folder, or move the input.',
  });
}

/** The part of a configuration that decides whether a folder may be written. Its other parts name inputs. */
type OutputSettings = Pick<ResolvedConfig, 'output' | 'training' | 'baseFolder'>;

/**
 * Checks that a run may write to its folder: the folder is empty or missing, or contains the run to resume or a run
 * that may be overwritten. Writes nothing.
 *
 * @param logger reports before the error that the run in the folder did not finish
 * @throws `OUTPUT_EXISTS`
 */
export async function checkOutputFolder(config: OutputSettings, logger?: LockLogger): Promise<void> {
  const { output, training, baseFolder } = config;
  const { folder, overwrite } = output;
  if (folder === null) return;
  const entries = await entriesOf(folder);
  const isLeftover = isOverwriteUnfinished(folder);
  const isRun = entries.includes(RESOLVED_CONFIG_FILE) || isLeftover;
  if (entries.length === 0 || (isRun && resumesRunIn(folder, training.resumeFromCheckpoint))) return;
  const place = { file: folder };
  const found = entries.slice(0, 5).join(', ') + (entries.length > 5 ? ', …' : '');
  if (!isRun)
    throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder is not empty and does not contain a run.', {
      place,
      found,
      hint: 'Choose another output.folder, or empty this one.',
    });
  if (!overwrite && !isLeftover) {
    const unfinished = logger === undefined ? null : await unfinishedRunIn(folder);
    if (unfinished !== null) logger?.warn(unfinished);
    throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder already contains a run.', {
      place,
      found,
      hint:
        'Resume it (training.resumeFromCheckpoint: true), replace it (output.overwrite: true), or choose ' +
        'another output.folder.',
    });
  }
  if (isWithin(folder, resolve(baseFolder)) || isWithin(folder, process.cwd())) {
    throw new WhetstoneError(
      'OUTPUT_EXISTS',
      "The output folder contains the configuration's folder and is not overwritten.",
      { place, hint: 'Choose another output.folder.' },
    );
  }
  checkInputs(config, folder);
}

/**
 * Prepares the folder of the process that writes it, before anything expensive: removes the rest of a run whose
 * replacement was interrupted, and checks that files can be written.
 *
 * @throws `FILE_UNWRITABLE`, `DISK_FULL` and the other errors of `writeError`
 */
export async function prepareOutputFolder({
  output: { folder },
  training,
}: Pick<ResolvedConfig, 'output' | 'training'>): Promise<void> {
  if (folder === null) return;
  await checkWritable(folder);
  // A checkpoint that is named explicitly is not removed.
  const resume = training.resumeFromCheckpoint;
  if (!isOverwriteUnfinished(folder) || (typeof resume === 'string' && resumesRunIn(folder, resume))) return;
  await emptyFolder(folder, await entriesOf(folder));
  await endOverwrite(folder);
}

/**
 * Claims the folder for a run: locks it, empties it if the old run is overwritten, and saves the resolved configuration
 * in it.
 *
 * @throws `OUTPUT_LOCKED` if another run writes to it
 * @throws the errors of {@link checkOutputFolder} and `writeError`
 */
export async function claimOutputFolder(config: ResolvedConfig, lock: FolderLock = noLock): Promise<void> {
  const { folder, overwrite } = config.output;
  if (folder === null) return;
  await checkOutputFolder(config);
  await lock.take();
  try {
    await makeFolder(folder);
  } catch (cause) {
    throw writeError(cause, folder);
  }
  await lock.take();
  await forgetError(folder);
  const entries = await entriesOf(folder);
  if (overwrite && entries.length > 0 && !resumesRunIn(folder, config.training.resumeFromCheckpoint))
    await emptyFolder(folder, entries);
  await writeText(join(folder, RESOLVED_CONFIG_FILE), `${JSON.stringify(config, null, 2)}\n`);
  await endOverwrite(folder);
}

/** The file that lists the data of a run. */
const DATA_MANIFEST_FILE = 'data.json';

/** Saves the manifests of the data, if the sources provide them. */
export async function saveDataManifest(
  folder: string | null,
  train: BatchSource,
  evaluation: BatchSource | null,
): Promise<void> {
  const manifest = { train: train.summary.manifest ?? null, eval: evaluation?.summary.manifest ?? null };
  if (folder === null || (manifest.train === null && manifest.eval === null)) return;
  await writeAtomically(join(folder, DATA_MANIFEST_FILE), async (handle) =>
    handle.writeFile(`${JSON.stringify(manifest, null, 2)}\n`),
  );
}

/** The file with the time that the chat template of a run writes. */
const TEMPLATE_TIME_FILE = 'template-time.json';

/**
 * Returns the time that the chat template of a resumed run writes, so that the run has the same text on another day.
 * Returns null if the run is new, or its folder lacks the file. Abandoned checkpoints have the time of their run.
 */
export async function savedTemplateTime({
  output: { folder },
  training: { resumeFromCheckpoint: resume },
}: Pick<ResolvedConfig, 'output' | 'training'>): Promise<Date | null> {
  if (typeof resume !== 'string') return resume === true && folder !== null ? templateTimeIn(folder) : null;
  const source = dirname(resume);
  return (await templateTimeIn(source)) ?? (isAbandoned(source) ? templateTimeIn(dirname(source)) : null);
}

/** Returns the time that the chat template of the run in a folder writes; null if the folder lacks it. */
export async function templateTimeIn(folder: string): Promise<Date | null> {
  const text = await readTextIfPresent(join(folder, TEMPLATE_TIME_FILE));
  if (text === null) return null;
  const { time } = JSON.parse(text) as { readonly time?: unknown };
  const date = new Date(String(time));
  return Number.isNaN(date.getTime()) ? null : date;
}

/** Saves the time that the chat template writes; undefined if it writes none. */
export async function saveTemplateTime(folder: string | null, time: string | undefined): Promise<void> {
  if (folder === null || time === undefined) return;
  await writeAtomically(join(folder, TEMPLATE_TIME_FILE), async (handle) =>
    handle.writeFile(`${JSON.stringify({ time }, null, 2)}\n`),
  );
}
