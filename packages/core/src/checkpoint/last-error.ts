import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isWhetstoneError } from '../contract/index.js';
import { readTextIfPresent, writeText } from '../files/index.js';
import { isRecord, messageOf, withoutContents, withoutCredentials } from '../util/index.js';

/**
 * The file in an output folder with the error that ended its last run. Its name starts with a dot, so that it is not
 * part of the contents of the run.
 */
const FILE = '.last-error.json';
const FORMAT = 'whetstone-last-error';

/** The error that ended a run, without credentials and without what its message quotes of files. */
interface LastError {
  readonly code: string;
  readonly message: string;
  /** The last completed step; null if the run failed before its first one. */
  readonly step: number | null;
  /** When the run failed, as an ISO 8601 date. */
  readonly time: string;
}

/** Errors that are recorded already: a stage and its run report the same one. */
const recorded = new WeakSet<object>();

/**
 * Writes the error of a run into its output folder. A failure has no consequence: the error of the run is the one to
 * report.
 *
 * @param folder the folder, if the run holds its lock; otherwise null
 * @param step the last completed step; null before the first one
 */
export async function recordError(folder: string | null, error: unknown, step: number | null): Promise<void> {
  if (folder === null) return;
  if (typeof error === 'object' && error !== null) {
    if (recorded.has(error)) return;
    recorded.add(error);
  }
  const record: LastError = {
    code: isWhetstoneError(error) ? error.code : 'INTERNAL',
    message: withoutContents(withoutCredentials(messageOf(error))),
    step,
    time: new Date().toISOString(),
  };
  await writeText(join(folder, FILE), `${JSON.stringify({ format: FORMAT, ...record }, null, 2)}\n`).catch(
    () => undefined,
  );
}

/** Removes the error of an earlier run. A failure has no consequence. */
export const forgetError = (folder: string): Promise<void> =>
  rm(join(folder, FILE), { force: true }).catch(() => undefined);

/**
 * Returns the error that ended the last run of an output folder; null if none is recorded.
 *
 * @throws the errors of `fileError`
 * @throws `Error` if the file is damaged
 */
export async function readLastError(folder: string): Promise<LastError | null> {
  const text = await readTextIfPresent(join(folder, FILE));
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  if (!isRecord(value) || value['format'] !== FORMAT) throw new Error(`${FILE} is damaged.`);
  const { code, message, step, time } = value;
  return {
    code: String(code),
    message: String(message),
    step: typeof step === 'number' ? step : null,
    time: String(time),
  };
}
