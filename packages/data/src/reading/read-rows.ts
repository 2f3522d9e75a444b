import { ownValue } from '@whetstone/core/util';
import type { Format, TextUnit } from '../choices.js';
import type { OnBytes } from './bytes.js';
import { readCsv } from './csv.js';
import { readJson } from './json.js';
import { readJsonLines } from './jsonl.js';
import type * as parquet from './parquet.js';
import { readPlainText } from './plain-text.js';
import type { Row } from './row.js';

const formatOfExtension: Readonly<Record<string, Format>> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  json: 'json',
  csv: 'csv',
  tsv: 'csv',
  parquet: 'parquet',
  txt: 'text',
};

export interface ReadOptions {
  /**
   * The format of all files. By default it follows from the extension (before `.gz`), and is JSON if that is unknown.
   */
  readonly format?: Format | 'auto';
  /** Larger rows are reported as unreadable. */
  readonly maxRowBytes?: number;
  /** The largest row group of a Parquet file that is decoded at once, if it cannot be decoded in steps. */
  readonly maxGroupBytes?: number;
  /** The unit of a text file that is one sample. */
  readonly textUnit?: TextUnit;
}

export function formatOf(file: string): Format {
  const extension = /\.([^./\\]+?)(\.gz)?$/i.exec(file)?.[1]?.toLowerCase() ?? '';
  return ownValue(formatOfExtension, extension) ?? 'json';
}

/** Loads the Parquet reader, which is large, only when a Parquet file is read. */
const readParquetRows: typeof parquet.readParquet = async function* (...inputs) {
  yield* (await import('./parquet.js')).readParquet(...inputs);
};

/**
 * Yields the rows of a data file. An unreadable row is yielded as a problem.
 *
 * @throws `FILE_NOT_FOUND`
 * @throws `FILE_UNREADABLE`
 */
export function readRows(
  file: string,
  { format = 'auto', maxRowBytes, maxGroupBytes, textUnit }: ReadOptions = {},
  onBytes?: OnBytes,
): AsyncIterable<Row> {
  switch (format === 'auto' ? formatOf(file) : format) {
    case 'jsonl':
      return readJsonLines(file, maxRowBytes, onBytes);
    case 'json':
      return readJson(file, maxRowBytes, onBytes);
    case 'csv':
      return readCsv(file, maxRowBytes, onBytes);
    case 'parquet':
      return readParquetRows(file, onBytes, maxGroupBytes === undefined ? {} : { maxGroupBytes });
    case 'text':
      return readPlainText(file, textUnit, maxRowBytes, onBytes);
  }
}
