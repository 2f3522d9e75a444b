import { readFile } from 'node:fs/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { checkFormatVersion, fileError, writeAtomically } from '@whetstone/core/files';
import type { Random } from '@whetstone/core/random';
import { fromPlainRow, plainRow, type ReplayRow } from './rows.js';

/** A reservoir: a uniform sample of bounded size of everything that was ever offered. */
export interface ReplayBuffer {
  readonly rows: readonly ReplayRow[];
  /** How many rows it is a sample of. */
  readonly offered: number;
}

export const emptyBuffer: ReplayBuffer = { rows: [], offered: 0 };

/** Offers rows to the reservoir (Vitter's algorithm R); `limit` rows are kept at most, all of them where it is null. */
export function offerRows(
  buffer: ReplayBuffer,
  rows: Iterable<ReplayRow>,
  limit: number | null,
  random: Random,
): ReplayBuffer {
  const kept = [...buffer.rows];
  let { offered } = buffer;
  for (const row of rows) {
    offered += 1;
    if (limit === null || kept.length < limit) kept.push(row);
    else {
      const place = random.integer(offered);
      if (place < limit) kept[place] = row;
    }
  }
  return { rows: kept, offered };
}

const FORMAT = 'whetstone-replay';
const FORMAT_VERSION = 1;

const parts = ['ids', 'labels', 'segmentIds', 'positionIds'] as const;

/** Writes a buffer as JSON lines: the first says how much was offered, then a row a line. */
export async function writeBuffer(file: string, { rows, offered }: ReplayBuffer): Promise<void> {
  const lines = [
    JSON.stringify({ format: FORMAT, version: FORMAT_VERSION, offered }),
    ...rows.map((row) => JSON.stringify(plainRow(row))),
  ];
  await writeAtomically(file, async (handle) => handle.writeFile(`${lines.join('\n')}\n`));
}

/** Reads a buffer that {@link writeBuffer} wrote. @throws DATA_UNREADABLE, FILE_NOT_FOUND, VERSION_UNSUPPORTED */
export async function readBuffer(file: string, vocabularySize: number): Promise<ReplayBuffer> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw fileError(cause, file);
  });
  const [head = '', ...lines] = text.split('\n').filter((line) => line !== '');
  const { offered, format, version } = parse(head, file, 1);
  // The version first: a later one may write its rows otherwise.
  if (format === FORMAT)
    checkFormatVersion({ file, what: 'The replay buffer', found: version, supported: FORMAT_VERSION });
  const rows = lines.map((line, index) => rowOf(parse(line, file, index + 2), file, index + 2, vocabularySize));
  if (format !== FORMAT || typeof offered !== 'number' || offered < rows.length)
    throw unreadable(file, 1, 'This is not a replay buffer.');
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
  const lists = parts.map((part) => value[part]);
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
    throw unreadable(file, line, 'A row of the replay buffer has not four lists of integers of one length.');
  }
  if (ids.some((id) => id < 0 || id >= vocabularySize))
    throw unreadable(
      file,
      line,
      'A row of the replay buffer has token ids outside of the vocabulary: it is of another model.',
    );
  const { weights } = value;
  const isWeights = (list: unknown): list is readonly number[] =>
    Array.isArray(list) && list.length === ids.length && list.every((item) => typeof item === 'number');
  if (weights !== undefined && !isWeights(weights))
    throw unreadable(file, line, 'A row of the replay buffer has weights that are no list of numbers of its length.');
  return fromPlainRow({ ids, labels, segmentIds, positionIds, ...(isWeights(weights) ? { weights } : {}) });
}
