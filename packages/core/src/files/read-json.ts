import { readFile } from 'node:fs/promises';
import type { Json, WhetstoneError } from '../contract/index.js';
import { fileError } from './file-errors.js';
import { isRecord, messageOf } from '../util/index.js';

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
    text = await readFile(file, 'utf8');
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
  if (!isRecord(json)) throw errors.invalid('is not an object.', undefined);
  return json as Readonly<Record<string, Json>>;
}
