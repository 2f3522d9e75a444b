import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, type FileMetaData } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { WhetstoneError } from '@whetstone/core/contract';
import type { OnBytes } from './bytes.js';
import type { Row } from './row.js';

/** The values of Parquet as JSON has them: whole numbers as numbers, dates as ISO text, bytes as lists. */
function toPlain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number>, toPlain);
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value === 'object' && value !== null) {
    // Absent fields of a struct come as undefined or null; the layouts take both for "not there".
    return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined).map(([key, field]) => [key, toPlain(field)]));
  }
  return value;
}

const unreadable = (file: string, cause: unknown): WhetstoneError =>
  new WhetstoneError('FILE_UNREADABLE', `The Parquet file cannot be read: ${(cause as Error).message}`, { place: { file }, cause });

/** Row groups up to this size (uncompressed) are decoded at once; of larger ones, where their pages can be found, as many rows as this holds. */
const DECODED_BYTES = 64 * 1024 * 1024;

/**
 * Rows that are decoded at once of a group. Pages before a row can be passed over where the file has an index of them, or where no column is nested; of
 * other groups every reading decodes all.
 */
function rowsAtOnce(group: FileMetaData['row_groups'][number], decodedBytes: number): number {
  const rows = Number(group.num_rows);
  const bytes = Number(group.total_byte_size);
  if (bytes <= decodedBytes) return rows;
  const indexed = group.columns.every(({ offset_index_offset: offset }) => Boolean(offset));
  const flat = group.columns.every(({ meta_data: column }) => (column?.path_in_schema.length ?? 2) === 1);
  return indexed || flat ? Math.max(1, Math.ceil((rows * decodedBytes) / bytes)) : rows;
}

/** Rows of a Parquet file, decoded some at a time; the line is the number of the row, from 1. @throws FILE_UNREADABLE */
export async function* readParquet(file: string, onBytes?: OnBytes, decodedBytes = DECODED_BYTES): AsyncGenerator<Row> {
  let buffer: Awaited<ReturnType<typeof asyncBufferFromFile>>;
  let metadata: FileMetaData;
  try {
    buffer = await asyncBufferFromFile(file);
    metadata = await parquetMetadataAsync(buffer);
  } catch (cause) {
    throw unreadable(file, cause);
  }
  let start = 0;
  for (const group of metadata.row_groups) {
    const end = start + Number(group.num_rows);
    const step = rowsAtOnce(group, decodedBytes);
    const bytes = Number(group.total_compressed_size ?? group.total_byte_size);
    for (let from = start; from < end; from += step) {
      const to = Math.min(end, from + step);
      let rows: Record<string, unknown>[];
      try {
        rows = await parquetReadObjects({ file: buffer, metadata, rowStart: from, rowEnd: to, compressors, useOffsetIndex: to - from < end - start });
      } catch (cause) {
        throw unreadable(file, cause);
      }
      for (const [index, row] of rows.entries()) yield { line: from + index + 1, value: toPlain(row) };
      onBytes?.((bytes * (to - from)) / Math.max(1, end - start));
    }
    start = end;
  }
}
