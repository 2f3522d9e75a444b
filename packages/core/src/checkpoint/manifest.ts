import { join } from 'node:path';
import { WhetstoneError, type Problem } from '../contract/errors.js';
import {
  changedFiles,
  checkFormatVersion,
  fileError,
  isManifest,
  MANIFEST_FILE,
  readText,
  writeManifest,
  writeText,
  type Manifest,
} from '../files/index.js';
import { isRecord } from '../util/index.js';

const FORMAT = 'whetstone-checkpoint';
/** Incremented when earlier versions of Whetstone would misread a checkpoint; see docs/versioning.md. */
const FORMAT_VERSION = 1;

/** Writes a JSON file atomically. */
export const writeJson = (file: string, value: unknown): Promise<void> =>
  writeText(file, `${JSON.stringify(value, null, 2)}\n`);

/** Writes the manifest of a checkpoint. Must be the last file that is written. */
export const writeCheckpointManifest = (folder: string, step: number): Promise<void> =>
  writeManifest(folder, { format: FORMAT, version: FORMAT_VERSION }, { step });

/**
 * Verifies that a checkpoint is complete: every file of its manifest exists and has the recorded size and hash. Returns
 * the names of its files.
 *
 * @param isRead selects the files whose size and hash are compared; all by default
 * @throws `VERSION_UNSUPPORTED` if a later version of Whetstone wrote it
 * @throws `CHECKPOINT_INVALID` with all missing and changed files
 */
export async function verifyCheckpoint(
  folder: string,
  isRead?: (name: string) => boolean,
): Promise<ReadonlySet<string>> {
  const manifest = await readManifest(folder);
  const problems = await changedFiles(folder, manifest, isRead);
  if (problems.length > 0) throw incomplete(folder, problems);
  return new Set(Object.keys(manifest.files));
}

const incomplete = (folder: string, problems: readonly Problem[]): WhetstoneError =>
  new WhetstoneError('CHECKPOINT_INVALID', `${problems.length} of the checkpoint's files are missing or changed.`, {
    place: { file: folder },
    problems,
    hint: 'The checkpoint is incomplete or was changed: resume from an earlier one.',
  });

async function readManifest(folder: string): Promise<Manifest> {
  const file = join(folder, MANIFEST_FILE);
  const manifest = await readJson(file);
  // The version is checked first, because later versions can have other fields.
  const isOurs = isRecord(manifest) && manifest['format'] === FORMAT;
  if (isOurs)
    checkFormatVersion({
      file,
      what: 'The checkpoint',
      found: manifest['version'],
      supported: FORMAT_VERSION,
      writtenBy: manifest['whetstone'],
    });
  if (!isOurs || !isManifest(manifest))
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The file is not the manifest of a Whetstone checkpoint.', {
      place: { file },
    });
  return manifest;
}

/**
 * Reads a JSON file of a checkpoint.
 *
 * @throws `CHECKPOINT_INVALID` if it is missing, unreadable or not JSON
 */
export async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readText(file);
  } catch (cause) {
    const { message, expected, found } = fileError(cause, file);
    throw new WhetstoneError('CHECKPOINT_INVALID', message, { place: { file }, expected, found, cause });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The file is not JSON.', { place: { file }, cause });
  }
}
