import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type AsyncBuffer,
  type FileMetaData,
} from 'hyparquet';

import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { checkRegular } from '@whetstone/core/files';
import { DEFAULT_MAX_GROUP_BYTES } from '../choices.js';
import type { OnBytes } from './bytes.js';
import { checkedFile, checkMetadata, decodedBytesOf, type CheckedFile } from './parquet-checks.js';
import { checkThrift } from './parquet-pages.js';
import { loadCodecs } from './parquet-codecs.js';
import { converterOf, jsonFromBytes, withRawDecimals } from './parquet-values.js';
import type { Row } from './row.js';

const unreadable = (file: string, cause: unknown): WhetstoneError =>
  isWhetstoneError(cause)
    ? cause
    : new WhetstoneError('FILE_UNREADABLE', `The Parquet file cannot be read: ${(cause as Error).message}`, {
        place: { file },
        cause,
      });

/** Uncompressed bytes that are decoded at once; larger row groups are decoded in several steps, if possible. */
const DECODED_BYTES = 64 * 1024 * 1024;

type RowGroup = FileMetaData['row_groups'][number];

/** Bytes of a row without its values. */
const ROW_BYTES = 16;
/** The largest estimate of the memory of a decoded group that is decoded at once, in units of `maxGroupBytes`. */
const MEMORY = 4;
/** The largest number of values of a page. */
const MAX_PAGE_VALUES = 16_000_000;

const mebibytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

/**
 * Returns the number of rows of a group to decode at once. A group can be decoded in steps only if the file has a page
 * index or no column is nested, as otherwise every read decodes the complete group.
 *
 * @throws `FILE_UNREADABLE` if the group must be decoded at once and exceeds `maxGroupBytes`
 */
function rowsAtOnce(
  group: RowGroup,
  number: number,
  memory: number,
  file: string,
  { decodedBytes, maxGroupBytes }: GroupLimits,
): number {
  const rows = Number(group.num_rows);
  const bytes = Math.max(Number(group.total_byte_size), rows * ROW_BYTES);
  const size = Math.max(bytes, memory / (2 * MEMORY));
  if (size <= decodedBytes) return rows;
  const indexed = group.columns.every(({ offset_index_offset: offset }) => Boolean(offset));
  const flat = group.columns.every(({ meta_data: column }) => (column?.path_in_schema.length ?? 2) === 1);
  if (indexed || flat) return Math.max(1, Math.ceil((rows * decodedBytes) / size));
  if (bytes <= maxGroupBytes && memory <= MEMORY * maxGroupBytes) return rows;
  throw new WhetstoneError(
    'FILE_UNREADABLE',
    `Row group ${number} of the Parquet file has ${mebibytes(bytes)} of nested columns without a page index, so ` +
      `that it must be decoded at once, into about ${mebibytes(memory)}.`,
    {
      place: { file },
      expected:
        `at most ${mebibytes(maxGroupBytes)} per group (option maxGroupBytes), ${MEMORY} times as much when decoded, ` +
        'or a page index',
      found: `${rows} rows, ${mebibytes(bytes)}`,
      hint:
        'Write the file again with a page index or smaller groups, for example with pyarrow: pq.write_table(table, ' +
        '"new.parquet", write_page_index=True, row_group_size=10_000).',
    },
  );
}

export interface GroupLimits {
  /** Uncompressed bytes that are decoded at once, if a group can be decoded in steps. */
  readonly decodedBytes: number;
  /** The largest uncompressed group that is decoded at once, if it cannot be decoded in steps. */
  readonly maxGroupBytes: number;
}

interface OpenParquet {
  readonly metadata: FileMetaData;
  readonly toRow: ReturnType<typeof converterOf>;
  readonly source: CheckedFile;
}

/** Reads the metadata of a file, once the lengths in it are checked. */
async function readMetadata(buffer: AsyncBuffer): Promise<FileMetaData> {
  // At the end of a file: the metadata, its length in four bytes, and four letters.
  const end = Math.max(0, buffer.byteLength - 8);
  const length = end === 0 ? 0 : new DataView(await buffer.slice(end, end + 4)).getUint32(0, true);
  if (length > 0 && length <= end) checkThrift(new Uint8Array(await buffer.slice(end - length, end)));
  return parquetMetadataAsync(buffer);
}

/** Opens a file and checks its metadata. @throws `FILE_UNREADABLE` */
async function openParquet(file: string, { maxGroupBytes }: GroupLimits): Promise<OpenParquet> {
  try {
    await checkRegular(file);
    const buffer = await asyncBufferFromFile(file);
    const metadata = await readMetadata(buffer);
    checkMetadata(metadata, buffer.byteLength);
    const toRow = converterOf(parquetSchema(metadata));
    const limits = { maxPageBytes: Math.max(maxGroupBytes, DECODED_BYTES), maxValues: MAX_PAGE_VALUES };
    const source = checkedFile(buffer, withRawDecimals(metadata), await loadCodecs(metadata), limits);
    return { metadata, toRow, source };
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

/**
 * Yields the rows of a Parquet file, decoded in steps; `line` is the number of the row, from 1.
 *
 * @throws `FILE_UNREADABLE`
 */
export async function* readParquet(
  file: string,
  onBytes?: OnBytes,
  limits: Partial<GroupLimits> = {},
): AsyncGenerator<Row> {
  const all: GroupLimits = { decodedBytes: DECODED_BYTES, maxGroupBytes: DEFAULT_MAX_GROUP_BYTES, ...limits };
  const { metadata, toRow, source } = await openParquet(file, all);
  let start = 0;
  // Sizes are checked before anything is decoded.
  const steps = metadata.row_groups.map((group, number) =>
    rowsAtOnce(group, number, decodedBytesOf(metadata, group), file, all),
  );
  for (const [number, group] of metadata.row_groups.entries()) {
    const end = start + Number(group.num_rows);
    const step = Math.max(1, steps[number] ?? 1);
    const bytes = Number(group.total_compressed_size ?? group.total_byte_size);
    for (let from = start; from < end; from += step) {
      const to = Math.min(end, from + step);
      let rows: Record<string, unknown>[];
      try {
        rows = await parquetReadObjects({
          ...source,
          parsers: { jsonFromBytes },
          utf8: false,
          rowStart: from,
          rowEnd: to,
          useOffsetIndex: to - from < end - start,
        });
      } catch (cause) {
        throw unreadable(file, cause);
      }
      for (const [index, row] of rows.entries()) yield { line: from + index + 1, value: toRow(row) };
      onBytes?.((bytes * (to - from)) / Math.max(1, end - start));
    }
    start = end;
  }
}
