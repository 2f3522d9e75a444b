import { readFile } from 'node:fs/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { checkFormatVersion, fileError, writeAtomically } from '@whetstone/core/files';
import type { Random } from '@whetstone/core/random';
import { fromPlainRow, plainRow, type ReplayRow } from './rows.js';

/** A reservoir: a uniform random sample of limited size of all rows that were ever offered. */
export interface ReplayBuffer {
  readonly rows: readonly ReplayRow[];
  /** Number of rows that were offered. */
  readonly offered: number;
}

export const emptyBuffer: ReplayBuffer = { rows: [], offered: 0 };

/** Offers rows to the reservoir (Vitter's algorithm R), which keeps at most `limit` rows; all if `limit` is null. */
export function offerRows(
  buffer: ReplayBuffer,
  rows: Iterable<ReplayRow>,
  limit: number | null,
  random: Random,
): ReplayBuffer {
  const kept = [...buffer.rows];
  let { offered } = buffer;
  for (const row of rows) {
    offered++;
    if (limit === null || kept.length < limit) kept.push(row);
    else {
      const position = random.integer(offered);
      if (position < limit) kept[position] = row;
    }
  }
  return { rows: kept, offered };
}

const FORMAT = 'whetstone-replay';
const FORMAT_VERSION = 1;

const fields = ['ids', 'labels', 'segmentIds', 'positionIds'] as const;

/** Writes a buffer as JSON lines: a header with the number of offered rows, then one row per line. */
export async function writeBuffer(file: string, { rows, offered }: ReplayBuffer): Promise<void> {
  const lines = [
    JSON.stringify({ format: FORMAT, version: FORMAT_VERSION, offered }),
    ...rows.map((row) => JSON.stringify(plainRow(row))),
  ];
  await writeAtomically(file, async (handle) => handle.writeFile(`${lines.join('\n')}\n`));
}

/**
 * Reads a buffer that {@link writeBuffer} wrote.
 *
 * @throws `FILE_NOT_FOUND` if the file does not exist
 * @throws `DATA_UNREADABLE` if the file is not a replay buffer of a model with this vocabulary
 * @throws `VERSION_UNSUPPORTED` if a later version wrote it
 */
export async function readBuffer(file: string, vocabularySize: number): Promise<ReplayBuffer> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw fileError(cause, file);
  });
  const [head = '', ...lines] = text.split('\n').filter((line) => line !== '');
  const { offered, format, version } = parse(head, file, 1);
  // Check the version first, because later versions may use another format of rows.
  if (format === FORMAT)
    checkFormatVersion({ file, what: 'The replay buffer', found: version, supported: FORMAT_VERSION });
  const rows = lines.map((line, index) => rowOf(parse(line, file, index + 2), file, index + 2, vocabularySize));
  if (format !== FORMAT || typeof offered !== 'number' || offered < rows.length)
    throw unreadable(file, 1, 'The file is not a replay buffer.');
  return { rows, offered };
}

const unreadable = (file: string, line: number, message: string, cause?: unknown): WhetstoneError =>
  new WhetstoneError('DATA_UNREADABLE', message, { place: { file, line }, cause });

function parse(line: string, file: string, number: number): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(line) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw unreadable(file, number, 'A line of the replay buffer is not JSON.', cause);
  }
}

function rowOf(
  value: Readonly<Record<string, unknown>>,
  file: string,
  line: number,
  vocabularySize: number,
): ReplayRow {
  const lists = fields.map((field) => value[field]);
  const isIntegers = (list: unknown): list is readonly number[] =>
    Array.isArray(list) && list.every((item) => Number.isInteger(item));
  const [ids, labels, segmentIds, positionIds] = lists;
  if (
    !isIntegers(ids) ||
    !isIntegers(labels) ||
    !isIntegers(segmentIds) ||
    !isIntegers(positionIds) ||
    lists.some((list) => (list as readonly number[]).length !== ids.length)
  ) {
    throw unreadable(file, line, 'A row of the replay buffer does not have four lists of integers of equal length.');
  }
  if (ids.some((id) => id < 0 || id >= vocabularySize))
    throw unreadable(
      file,
      line,
      'A row of the replay buffer has token ids outside of the vocabulary: the buffer belongs to another model.',
    );
  const { weights } = value;
  const isWeights = (list: unknown): list is readonly number[] =>
    Array.isArray(list) && list.length === ids.length && list.every((item) => typeof item === 'number');
  if (weights !== undefined && !isWeights(weights))
    throw unreadable(file, line, 'The weights of a row of the replay buffer are not a list of numbers of its length.');
  return fromPlainRow({ ids, labels, segmentIds, positionIds, ...(isWeights(weights) ? { weights } : {}) });
}
