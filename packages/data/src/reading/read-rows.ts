import type { Format, TextUnit } from '../choices.js';
import type { OnBytes } from './bytes.js';
import { readCsv } from './csv.js';
import { readJson } from './json.js';
import { readJsonLines } from './jsonl.js';
import type * as parquet from './parquet.js';
import { readPlainText } from './plain-text.js';
import type { Row } from './row.js';

const endings: Readonly<Record<string, Format>> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  json: 'json',
  csv: 'csv',
  tsv: 'csv',
  parquet: 'parquet',
  txt: 'text',
};

export interface ReadOptions {
  /** The format of every file; by default, what a file's ending says (before `.gz`), and JSON where it says nothing. */
  readonly format?: Format | 'auto';
  /** Rows longer than this are reported instead of read. */
  readonly maxRowBytes?: number;
  /** Row groups of Parquet files that can only be decoded whole and are larger than this are an error. */
  readonly maxGroupBytes?: number;
  /** What of a text file is one sample. */
  readonly textUnit?: TextUnit;
}

export function formatOf(file: string): Format {
  const ending = /\.([^./\\]+?)(\.gz)?$/i.exec(file)?.[1]?.toLowerCase() ?? '';
  return endings[ending] ?? 'json';
}

/** Loads the Parquet reader, which is large, with the first Parquet file. */
const readParquetRows: typeof parquet.readParquet = async function* (...inputs) {
  yield* (await import('./parquet.js')).readParquet(...inputs);
};

/** The rows of a data file. A row that cannot be read comes as a problem. @throws FILE_NOT_FOUND, FILE_UNREADABLE */
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
