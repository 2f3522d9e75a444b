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

/** Rows of a Parquet file, decoded one row group at a time; the line is the number of the row, from 1. @throws FILE_UNREADABLE */
export async function* readParquet(file: string, onBytes?: OnBytes): AsyncGenerator<Row> {
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
    let rows: Record<string, unknown>[];
    try {
      rows = await parquetReadObjects({ file: buffer, metadata, rowStart: start, rowEnd: end, compressors });
    } catch (cause) {
      throw unreadable(file, cause);
    }
    for (const [index, row] of rows.entries()) yield { line: start + index + 1, value: toPlain(row) };
    start = end;
    onBytes?.(Number(group.total_compressed_size ?? group.total_byte_size));
  }
}
