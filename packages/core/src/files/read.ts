import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { WhetstoneError, type Json } from '../contract/index.js';
import { isNestedDeeper, isRecord, MAX_JSON_DEPTH, messageOf } from '../util/index.js';
import { fileError } from './errors.js';
import { openRegular, readText } from './regular.js';

/** Creates the errors for a file that is missing or does not contain a JSON object. */
export interface JsonFileErrors {
  /** Returns the error for a file that does not exist. */
  missing(cause: unknown): WhetstoneError | Promise<WhetstoneError>;
  /** Returns the error for an invalid file. `message` is the predicate of a sentence: `is not an object.` */
  invalid(message: string, cause: unknown): WhetstoneError;
}

/**
 * Returns the JSON object in a file.
 *
 * @throws the errors of `errors` if the file is missing or does not contain a JSON object
 * @throws the other errors of {@link fileError}
 */
export async function readJsonObject(file: string, errors: JsonFileErrors): Promise<Readonly<Record<string, Json>>> {
  let text: string;
  try {
    text = await readText(file);
  } catch (cause) {
    const error = fileError(cause, file);
    throw error.code === 'FILE_NOT_FOUND' ? await errors.missing(cause) : error;
  }
  let json: Json;
  try {
    json = JSON.parse(text) as Json;
  } catch (cause) {
    throw errors.invalid(`is not JSON: ${messageOf(cause)}.`, cause);
  }
  if (isNestedDeeper(json)) throw errors.invalid(`is nested more than ${MAX_JSON_DEPTH} levels deep.`, undefined);
  if (!isRecord(json)) throw errors.invalid('is not an object.', undefined);
  return json as Readonly<Record<string, Json>>;
}

/** A file that Whetstone wrote, with the version of its format. */
export interface VersionedFile {
  readonly file: string;
  /** The kind of file, as the subject of a sentence: `The checkpoint`. */
  readonly what: string;
  /** The version in the file; undefined for files without one, which have version 1. */
  readonly found: unknown;
  /** The newest version that can be read. */
  readonly supported: number;
  /** The version of Whetstone that wrote the file, if it is recorded. */
  readonly writtenBy?: unknown;
}

/**
 * Checks that this version of Whetstone can read a file.
 *
 * @throws `VERSION_UNSUPPORTED` if the version of its format is newer or invalid
 */
export function checkFormatVersion({ file, what, found, supported, writtenBy }: VersionedFile): void {
  const version = found ?? 1;
  const isVersion = Number.isInteger(version) && (version as number) >= 1;
  if (isVersion && (version as number) <= supported) return;
  const isKnownWriter = typeof writtenBy === 'string' && /^\d+\.\d+\.\d+/.test(writtenBy);
  throw new WhetstoneError(
    'VERSION_UNSUPPORTED',
    isVersion ? `${what} was written by a newer version of Whetstone.` : `${what} has an invalid format version.`,
    {
      place: { file },
      expected: supported === 1 ? 'format version 1' : `format version 1 to ${supported}`,
      found: `format version ${JSON.stringify(version)}${isKnownWriter ? `, written by Whetstone ${writtenBy}` : ''}`,
      hint: isKnownWriter
        ? `Install Whetstone ${writtenBy} or later, or use a file that this version wrote.`
        : 'Install a later version of Whetstone, or use a file that this version wrote.',
      details: { version, supported },
    },
  );
}

/**
 * Returns the hex SHA-256 of a file, which is read as a stream.
 *
 * @throws the errors of {@link fileError}
 */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    const handle = await openRegular(file);
    await pipeline(handle.createReadStream({ highWaterMark: 1 << 20 }), hash);
  } catch (cause) {
    throw fileError(cause, file);
  }
  return hash.digest('hex');
}
