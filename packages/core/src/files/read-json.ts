import { readFile } from 'node:fs/promises';
import type { Json, WhetstoneError } from '../contract/index.js';
import { fileError } from './file-errors.js';
import { isRecord, messageOf } from '../util/index.js';

/** What is thrown where a file is missing or holds no JSON object. */
export interface JsonFileErrors {
  /** The file is not there. */
  missing(cause: unknown): WhetstoneError | Promise<WhetstoneError>;
  /** It is there; `message` says what is wrong with it. */
  invalid(message: string, cause: unknown): WhetstoneError;
}

/**
 * The JSON object of a file. Throws what `errors` make of a file that is missing or no JSON object, and other errors of
 * {@link fileError}.
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
