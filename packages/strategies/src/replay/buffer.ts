import { createHash } from 'node:crypto';
import { WhetstoneError, type Tokenizer } from '@whetstone/core/contract';
import { checkFormatVersion, fileError, readText, writeAtomically, writeFully } from '@whetstone/core/files';
import { isRecord } from '@whetstone/core/util';
import { createRandom, shuffle } from '@whetstone/core/random';
import { fromPlainRow, plainRow, type PlainRow, type ReplayRow } from './rows.js';

/**
 * A uniform random sample of limited size of all rows that were ever offered, in the order of the offers. Each row has
 * a random key in [0, 1); the sample consists of the rows with the smallest keys ("bottom-k sampling").
 */
export interface ReplayBuffer {
  readonly rows: readonly ReplayRow[];
  /** The key of each row. */
  readonly keys: readonly number[];
  /** The smallest key of a row that was dropped; 1 if none was. Rows with a smaller key are complete. */
  readonly threshold: number;
  /** Number of rows that were offered. */
  readonly offered: number;
}

export const emptyBuffer: ReplayBuffer = { rows: [], keys: [], threshold: 1, offered: 0 };

/** The contents of a buffer file. */
export interface StoredBuffer extends BufferOfTasks {
  /** The last task: the hash of its training data, and the contents before it. Null if they are unknown. */
  readonly last: { readonly task: string; readonly before: BufferOfTasks } | null;
}

/** A buffer with the hashes of the data whose rows were offered, oldest first. Data without a known hash is missing. */
export interface BufferOfTasks {
  readonly buffer: ReplayBuffer;
  readonly tasks: readonly string[];
}

export const emptyStoredBuffer: StoredBuffer = { buffer: emptyBuffer, tasks: [], last: null };

/** A {@link ReplayBuffer} that is being filled. It holds at most as many rows as its limit. */
export interface Reservoir {
  offer(rows: Iterable<ReplayRow>): void;
  /** Returns a copy of the current sample. */
  buffer(): ReplayBuffer;
}

/**
 * Creates a reservoir that continues a buffer and keeps at most `limit` rows. A buffer with more rows is reduced at
 * random. The random stream depends on the number of rows offered before, so that each task has its own.
 */
export function openReservoir(from: ReplayBuffer, limit: number, seed: number): Reservoir {
  const random = createRandom(seed, 'replay reservoir', from.offered);
  const rows = [...from.rows];
  const keys = [...from.keys];
  let { threshold, offered } = from;
  const dropLargest = (): void => {
    const position = keys.reduce((largest, key, index) => (key > (keys[largest] ?? -1) ? index : largest), 0);
    rows.splice(position, 1);
    [threshold = threshold] = keys.splice(position, 1);
  };
  while (rows.length > limit) dropLargest();
  return {
    offer: (offeredRows) => {
      for (const row of offeredRows) {
        offered++;
        const key = random.uniform();
        if (key >= threshold) continue;
        rows.push(row);
        keys.push(key);
        if (rows.length > limit) dropLargest();
      }
    },
    buffer: () => ({ rows: [...rows], keys: [...keys], threshold, offered }),
  };
}

/**
 * Returns the buffer of a uniform sample that was stored without keys, as older versions did. The keys are drawn as the
 * smallest of `offered` uniform numbers, in random order.
 */
export function bufferWithoutKeys(rows: readonly ReplayRow[], offered: number): ReplayBuffer {
  const random = createRandom(offered, 'replay keys');
  const keys: number[] = [];
  let smallest = 0;
  const nextKey = (left: number): number => (smallest += (1 - smallest) * (1 - (1 - random.uniform()) ** (1 / left)));
  for (let index = 0; index < rows.length; index++) keys.push(nextKey(offered - index));
  const threshold = rows.length < offered ? nextKey(offered - rows.length) : 1;
  return { rows, keys: shuffle(keys, random), threshold, offered };
}

/** Returns a hash of the token ids of the rows and their texts, to compare a buffer with a tokenizer. */
function hashOfTexts(rows: readonly ReplayRow[], tokenizer: Pick<Tokenizer, 'decode'>): string {
  const ids = new Set<number>();
  for (const row of rows) for (const id of row.ids) ids.add(id);
  const hash = createHash('sha256');
  for (const id of Int32Array.from(ids).sort()) hash.update(`${JSON.stringify([id, tokenizer.decode([id])])}\n`);
  return hash.digest('hex');
}

const FORMAT = 'whetstone-replay';
const FORMAT_VERSION = 1;

const fields = ['ids', 'labels', 'segmentIds', 'positionIds'] as const;

/** The model and tokenizer of a buffer's token ids. */
export interface BufferVocabulary {
  readonly vocabularySize: number;
  /** Absent if unknown: then only the range of the ids is checked. */
  readonly tokenizer?: Pick<Tokenizer, 'decode'>;
}

/** The state of a buffer before its last task, as the header of a file contains it. */
interface StoredBefore {
  readonly task: string;
  /** The number of hashes in `tasks` that it had. */
  readonly tasks: number;
  readonly offered: number;
  readonly threshold: number;
  /** The number of its rows that the buffer still has. They are the first ones. */
  readonly kept: number;
  /** The rows that the buffer no longer has, and their positions. */
  readonly dropped: readonly (PlainRow & { readonly key: number; readonly at: number })[];
}

/** Returns the state before the last task, without the rows that `buffer` still has. */
function storedBefore({ buffer, tasks, last }: StoredBuffer): StoredBefore | null {
  if (last === null) return null;
  const { rows, keys, threshold, offered } = last.before.buffer;
  let kept = 0;
  const dropped = rows.flatMap((row, at) => {
    const key = keys[at] ?? NaN;
    if (key !== buffer.keys[kept]) return [{ ...plainRow(row), key, at }];
    kept++;
    return [];
  });
  return {
    task: last.task,
    tasks: Math.min(last.before.tasks.length, tasks.length),
    offered,
    threshold,
    kept,
    dropped,
  };
}

/** Writes a buffer as JSON lines: a header with the number of offered rows, then one row per line. */
export async function writeBuffer(
  file: string,
  stored: StoredBuffer,
  { tokenizer }: Pick<BufferVocabulary, 'tokenizer'>,
): Promise<void> {
  const { rows, keys, threshold, offered } = stored.buffer;
  const tokenTexts = tokenizer === undefined ? {} : { tokenTexts: hashOfTexts(rows, tokenizer) };
  const { tasks } = stored;
  const before = storedBefore(stored);
  const header = { format: FORMAT, version: FORMAT_VERSION, offered, threshold, ...tokenTexts, tasks, before };
  await writeAtomically(file, async (handle) => {
    const write = (line: object): Promise<void> =>
      writeFully(handle, new TextEncoder().encode(`${JSON.stringify(line)}\n`));
    await write(header);
    for (const [index, row] of rows.entries()) await write({ ...plainRow(row), key: keys[index] });
  });
}

/**
 * Reads a buffer that {@link writeBuffer} wrote.
 *
 * @throws `FILE_NOT_FOUND` if the file does not exist
 * @throws `DATA_UNREADABLE` if the file is not a replay buffer of a model with this vocabulary
 * @throws `VERSION_UNSUPPORTED` if a later version wrote it
 */
export async function readBuffer(file: string, { vocabularySize, tokenizer }: BufferVocabulary): Promise<StoredBuffer> {
  const text = await readText(file).catch((cause: unknown) => {
    throw fileError(cause, file);
  });
  const [head = '', ...lines] = text.split('\n').filter((line) => line !== '');
  const header = parse(head, file, 1);
  const { offered, format, version, threshold, tokenTexts } = header;
  // Check the version first, because later versions may use another format of rows.
  if (format === FORMAT)
    checkFormatVersion({ file, what: 'The replay buffer', found: version, supported: FORMAT_VERSION });
  const parsed = lines.map((line, index) => parse(line, file, index + 2));
  const rows = parsed.map((value, index) => rowOf(value, file, index + 2, vocabularySize));
  if (format !== FORMAT || typeof offered !== 'number' || offered < rows.length)
    throw unreadable(file, 1, 'The file is not a replay buffer.');
  if (tokenizer !== undefined && typeof tokenTexts === 'string' && tokenTexts !== hashOfTexts(rows, tokenizer))
    throw new WhetstoneError('DATA_UNREADABLE', 'The replay buffer was written with another tokenizer.', {
      place: { file, line: 1 },
      expected: 'token ids that stand for the same texts in the tokenizer of this model',
      found: 'token ids that stand for other texts',
      hint: 'Set another bufferFile, or give the earlier data as text with the option data.',
    });
  const keys = parsed.flatMap(({ key }) => (isKey(key) ? [key] : []));
  if (typeof threshold !== 'number' || keys.length < rows.length)
    return { ...emptyStoredBuffer, buffer: bufferWithoutKeys(rows, offered) };
  if (keys.some((key) => key > threshold))
    throw unreadable(file, 1, 'A key of the replay buffer is larger than its threshold.');
  return withTasks({ rows, keys, threshold, offered }, header, file, vocabularySize);
}

/** Returns the contents of a file from its buffer and header. Files of older versions have no tasks. */
function withTasks(
  buffer: ReplayBuffer,
  { tasks = [], before = null }: Readonly<Record<string, unknown>>,
  file: string,
  vocabularySize: number,
): StoredBuffer {
  const isHashes = (list: unknown): list is readonly string[] =>
    Array.isArray(list) && list.every((item) => typeof item === 'string');
  if (isHashes(tasks) && before === null) return { buffer, tasks, last: null };
  if (!isHashes(tasks) || !isStoredBefore(before, buffer.rows.length))
    throw unreadable(file, 1, 'The replay buffer does not describe its tasks.');
  const rows = buffer.rows.slice(0, before.kept);
  const keys = buffer.keys.slice(0, before.kept);
  for (const { at, key, ...row } of before.dropped) {
    rows.splice(at, 0, rowOf(row, file, 1, vocabularySize));
    keys.splice(at, 0, key);
  }
  const { task, offered, threshold } = before;
  const earlier = { buffer: { rows, keys, threshold, offered }, tasks: tasks.slice(0, before.tasks) };
  return { buffer, tasks, last: { task, before: earlier } };
}

function isStoredBefore(value: unknown, rows: number): value is StoredBefore {
  if (!isRecord(value)) return false;
  const { task, tasks, offered, threshold, kept, dropped } = value;
  const isCount = (count: unknown): count is number => Number.isInteger(count) && Number(count) >= 0;
  if (typeof task !== 'string' || typeof threshold !== 'number' || !Array.isArray(dropped)) return false;
  if (![tasks, offered, kept].every(isCount) || Number(kept) > rows) return false;
  return dropped.every((row) => isRecord(row) && isKey(row['key']) && isCount(row['at']));
}

const isKey = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value < 1;

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
