import { readFileSync } from 'node:fs';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WhetstoneError, type Problem } from '../contract/errors.js';
import { checkFormatVersion, fileError, hashFile, writeAtomically, writeFully } from '../files/index.js';
import { isRecord } from '../util/index.js';

const MANIFEST_FILE = 'manifest.json';
const FORMAT = 'whetstone-checkpoint';
/** Incremented when earlier versions of Whetstone would misread a checkpoint; see docs/versioning.md. */
const FORMAT_VERSION = 1;

interface Manifest {
  readonly format: string;
  readonly version: number;
  /** The version of Whetstone that wrote the checkpoint. */
  readonly whetstone: string;
  readonly step: number;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

/** Writes a JSON file atomically. */
export function writeJson(file: string, value: unknown): Promise<void> {
  return writeAtomically(file, (handle) =>
    writeFully(handle, new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`)),
  );
}

/** Writes the manifest of a folder: the size and hash of every file. Must be the last file that is written. */
export async function writeManifest(folder: string, step: number): Promise<void> {
  const files: Record<string, { bytes: number; sha256: string }> = {};
  for (const name of (await readdir(folder)).toSorted()) {
    const file = join(folder, name);
    files[name] = { bytes: (await stat(file)).size, sha256: await hashFile(file) };
  }
  await writeJson(join(folder, MANIFEST_FILE), {
    format: FORMAT,
    version: FORMAT_VERSION,
    whetstone: packageVersion(),
    step,
    files,
  } satisfies Manifest);
}

function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { readonly version: string }).version;
}

/**
 * Verifies that a checkpoint is complete: every file of its manifest exists and has the recorded size and hash.
 *
 * @throws `VERSION_UNSUPPORTED` if a later version of Whetstone wrote it
 * @throws `CHECKPOINT_INVALID` with all missing and changed files
 */
export async function verifyCheckpoint(folder: string): Promise<void> {
  const manifest = await readManifest(folder);
  const problems: Problem[] = [];
  for (const [name, expected] of Object.entries(manifest.files)) {
    const problem = await problemOf(join(folder, name), expected);
    if (problem !== null) problems.push(problem);
  }
  if (problems.length === 0) return;
  throw new WhetstoneError(
    'CHECKPOINT_INVALID',
    `${problems.length} of the checkpoint's files are missing or changed.`,
    {
      place: { file: folder },
      problems,
      hint: 'The checkpoint is incomplete or was changed: resume from an earlier one.',
    },
  );
}

async function problemOf(
  file: string,
  expected: { readonly bytes: number; readonly sha256: string },
): Promise<Problem | null> {
  const found = await stat(file).catch(() => null);
  if (found === null) return { message: 'The file is missing.', place: { file } };
  if (found.size !== expected.bytes)
    return {
      message: 'The size of the file has changed.',
      place: { file },
      expected: `${expected.bytes} bytes`,
      found: `${found.size} bytes`,
    };
  const sha256 = await hashFile(file);
  return sha256 === expected.sha256
    ? null
    : {
        message: 'The contents of the file have changed.',
        place: { file },
        expected: `SHA-256 ${expected.sha256}`,
        found: `SHA-256 ${sha256}`,
      };
}

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
  const isManifest =
    isOurs &&
    isRecord(manifest['files']) &&
    Object.values(manifest['files']).every(
      (entry) => isRecord(entry) && typeof entry['bytes'] === 'number' && typeof entry['sha256'] === 'string',
    );
  if (!isManifest)
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The file is not the manifest of a Whetstone checkpoint.', {
      place: { file },
    });
  return manifest as unknown as Manifest;
}

/**
 * Reads a JSON file of a checkpoint.
 *
 * @throws `CHECKPOINT_INVALID` if it is missing, unreadable or not JSON
 */
export async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new WhetstoneError('CHECKPOINT_INVALID', fileError(cause, file).message, { place: { file }, cause });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The file is not JSON.', { place: { file }, cause });
  }
}
