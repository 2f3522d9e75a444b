import { readJsonLines } from './jsonl.js';
import type { Row } from './row.js';

/** The rows of a data file, by its ending. */
export function readRows(file: string, maxRowBytes?: number): AsyncIterable<Row> {
  return readJsonLines(file, maxRowBytes);
}
