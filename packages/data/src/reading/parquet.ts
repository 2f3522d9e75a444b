import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type FileMetaData,
} from 'hyparquet';

import { compressors } from 'hyparquet-compressors';
import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { checkRegular } from '@whetstone/core/files';
import { DEFAULT_MAX_GROUP_BYTES } from '../choices.js';
import type { OnBytes } from './bytes.js';
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
  file: string,
  { decodedBytes, maxGroupBytes }: GroupLimits,
): number {
  const rows = Number(group.num_rows);
  const bytes = Number(group.total_byte_size);
  if (bytes <= decodedBytes) return rows;
  const indexed = group.columns.every(({ offset_index_offset: offset }) => Boolean(offset));
  const flat = group.columns.every(({ meta_data: column }) => (column?.path_in_schema.length ?? 2) === 1);
  if (indexed || flat) return Math.max(1, Math.ceil((rows * decodedBytes) / bytes));
  if (bytes <= maxGroupBytes) return rows;
  throw new WhetstoneError(
    'FILE_UNREADABLE',
    `Row group ${number} of the Parquet file has ${mebibytes(bytes)} of nested columns without a page index, so ` +
      'that it must be decoded at once.',
    {
      place: { file },
      expected: `at most ${mebibytes(maxGroupBytes)} per group (option maxGroupBytes), or a page index`,
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
  let buffer: Awaited<ReturnType<typeof asyncBufferFromFile>>;
  let metadata: FileMetaData;
  try {
    await checkRegular(file);
    buffer = await asyncBufferFromFile(file);
    metadata = await parquetMetadataAsync(buffer);
  } catch (cause) {
    throw unreadable(file, cause);
  }
  const toRow = converterOf(parquetSchema(metadata));
  const rawMetadata = withRawDecimals(metadata);
  let start = 0;
  // Sizes are checked before anything is decoded.
  const steps = metadata.row_groups.map((group, number) => rowsAtOnce(group, number, file, all));
  for (const [number, group] of metadata.row_groups.entries()) {
    const end = start + Number(group.num_rows);
    const step = Math.max(1, steps[number] ?? 1);
    const bytes = Number(group.total_compressed_size ?? group.total_byte_size);
    for (let from = start; from < end; from += step) {
      const to = Math.min(end, from + step);
      let rows: Record<string, unknown>[];
      try {
        rows = await parquetReadObjects({
          file: buffer,
          metadata: rawMetadata,
          parsers: { jsonFromBytes },
          utf8: false,
          rowStart: from,
          rowEnd: to,
          compressors,
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
