import { Readable } from 'node:stream';
import { CsvError, parse, type Info } from 'csv-parse';
import { readBytes, type OnBytes } from './bytes.js';
import { DEFAULT_MAX_ROW_BYTES, readLines } from './lines.js';
import type { Row } from './row.js';

const REPLACEMENT = '\ufffd';

/** The delimiter that a table's header uses most: `,`, `;`, tab or `|`. */
async function delimiterOf(file: string): Promise<string> {
  for await (const line of readLines(file)) {
    const header = 'text' in line ? line.text : '';
    const count = (delimiter: string): number => header.split(delimiter).length;
    return [',', ';', '\t', '|'].reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best));
  }
  return ',';
}

function explain(error: CsvError): string {
  switch (error.code) {
    case 'CSV_RECORD_INCONSISTENT_COLUMNS':
    case 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH':
      return 'the row has another number of fields than the header';
    case 'CSV_QUOTE_NOT_CLOSED':
      return 'a quote is opened and never closed';
    case 'CSV_MAX_RECORD_SIZE':
      return 'the row is longer than is read (option maxRowBytes); a quote may be opened and never closed';
    case 'INVALID_OPENING_QUOTE':
    case 'CSV_INVALID_CLOSING_QUOTE':
      return 'a quote stands within a field; fields with quotes must be quoted, their quotes doubled';
    default:
      return error.message;
  }
}

/** Errors after which nothing more of the file can be read. */
const FATAL = new Set(['CSV_QUOTE_NOT_CLOSED', 'CSV_MAX_RECORD_SIZE']);

/** Rows of a table with a header, `.csv` or `.tsv`; quoted fields may hold line breaks. Every value is text; the line is where the row starts. */
export async function* readCsv(file: string, maxRowBytes = DEFAULT_MAX_ROW_BYTES, onBytes?: OnBytes): AsyncGenerator<Row> {
  const delimiter = /\.tsv(\.gz)?$/i.test(file) ? '\t' : await delimiterOf(file);
  const problems: Row[] = [];
  let previousEnd = 1; // the header
  const parser = parse({
    bom: true,
    columns: (header: string[]) => header.map((name) => name.trim()),
    delimiter,
    info: true,
    max_record_size: maxRowBytes,
    skip_empty_lines: true,
    skip_records_with_error: true,
    on_skip(error) {
      if (error) problems.push({ line: Number((error as { lines?: number }).lines ?? previousEnd + 1), problem: explain(error) });
      return undefined;
    },
  });
  const bytes = Readable.from(readBytes(file, onBytes));
  bytes.on('error', (error) => parser.destroy(error));
  bytes.pipe(parser);
  try {
    for await (const { info, record } of parser as AsyncIterable<{ info: Info; record: Record<string, string> }>) {
      yield* problems.splice(0);
      const line = previousEnd + 1;
      previousEnd = info.lines;
      const damaged = Object.values(record).some((value) => value.includes(REPLACEMENT));
      yield damaged ? { line, problem: 'the row holds bytes that are not UTF-8, or characters that were lost before' } : { line, value: record };
    }
    yield* problems.splice(0);
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    yield* problems.splice(0);
    const rest = FATAL.has(error.code) ? '; the rest of the file cannot be read' : '';
    yield { line: previousEnd + 1, problem: `${explain(error)}${rest}` };
  } finally {
    bytes.destroy();
  }
}
