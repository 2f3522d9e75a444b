import type { OnBytes } from './bytes.js';
import { createRecordReader } from './csv-record.js';
import { DEFAULT_MAX_ROW_BYTES } from '../choices.js';
import { readLines, type Line } from './lines.js';
import type { Row } from './row.js';

/** Returns the most frequent delimiter of a header: `,`, `;`, tab or `|`. */
function delimiterOf(header: string): string {
  // Delimiters within quoted names do not count.
  const unquoted = header.replace(/"[^"]*(?:""[^"]*)*"?/g, '');
  const count = (delimiter: string): number => unquoted.split(delimiter).length;
  return [',', ';', '\t', '|'].reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best));
}

/** The first line with which spreadsheets name the delimiter: `sep=;`. */
const separatorLine = /^sep=(.)$/i;

/** Returns a name that a header contains twice; undefined if there is none. Columns without a name do not count. */
const repeatedName = (names: readonly string[]): string | undefined =>
  names.find((name, index) => name !== '' && names.indexOf(name) < index);

const STRAY_QUOTE = 'a quoted field is followed by text; double the quotes within the field';
const NEVER_CLOSED = 'a quoted field is never closed';

/** Parses lines to records. An invalid record is reported at its first line, and parsing resumes at its second line. */
class Records {
  private readonly delimiter: string;
  private readonly maxBytes: number;
  /** Lines of the current record. */
  private waiting: { readonly line: number; readonly text: string }[] = [];
  private size = 0;
  private reader: ReturnType<typeof createRecordReader>;

  constructor(delimiter: string, maxBytes: number) {
    this.delimiter = delimiter;
    this.maxBytes = maxBytes;
    this.reader = createRecordReader(delimiter);
  }

  *take(line: Line): Generator<Row> {
    if ('problem' in line) {
      // The current record cannot continue after an unreadable line.
      yield* this.giveUp(STRAY_QUOTE);
      yield {
        line: line.line,
        problem: line.problem.includes('UTF-8') ? 'the row is not valid UTF-8' : line.problem,
      };
      return;
    }
    if (this.waiting.length === 0 && line.text.trim() === '') return;
    this.waiting.push(line);
    this.size += line.text.length;
    const state = this.reader.feed(line.text);
    if (state === 'done') {
      yield { line: this.waiting[0]?.line ?? line.line, value: this.reader.fields };
      this.begin();
    } else if (state === 'stray-quote') {
      yield* this.giveUp(STRAY_QUOTE);
    } else if (this.size > this.maxBytes) {
      yield* this.giveUp(`${NEVER_CLOSED}, or is longer than the limit (option maxRowBytes)`);
    }
  }

  /** Reports the current record, if any, and parses its lines again, from the second one. */
  *giveUp(problem: string): Generator<Row> {
    const [first, ...others] = this.waiting;
    this.begin();
    if (first === undefined) return;
    yield { line: first.line, problem };
    for (const line of others) yield* this.take(line);
  }

  /** Ends the file: every record that is still open is reported. */
  *end(): Generator<Row> {
    while (this.waiting.length > 0) yield* this.giveUp(NEVER_CLOSED);
  }

  private begin(): void {
    this.waiting = [];
    this.size = 0;
    this.reader = createRecordReader(this.delimiter);
  }
}

/** Yields the lines of a table, which end with LF, CRLF or, as in old files of the Macintosh, CR. */
async function* csvLines(file: string, maxRowBytes: number, onBytes?: OnBytes): AsyncGenerator<Line> {
  // Lines that ended with CR only.
  let further = 0;
  for await (const line of readLines(file, maxRowBytes, onBytes)) {
    if ('problem' in line || !line.text.includes('\r')) {
      yield { ...line, line: line.line + further };
      continue;
    }
    const parts = line.text.split('\r');
    if (parts.at(-1) === '') parts.pop();
    for (const [index, text] of parts.entries()) yield { line: line.line + further + index, text };
    further += parts.length - 1;
  }
}

/**
 * Yields the rows of a `.csv` or `.tsv` file with a header. Quoted fields may contain line breaks. All values are text;
 * `line` is the first line of the row. If the header contains a name twice, every row has a problem.
 */
export async function* readCsv(
  file: string,
  maxRowBytes = DEFAULT_MAX_ROW_BYTES,
  onBytes?: OnBytes,
): AsyncGenerator<Row> {
  let records: Records | undefined;
  let names: readonly string[] | undefined;
  let repeated: string | undefined;
  const rowOf = (record: Row): Row | null => {
    if (!('value' in record)) return record;
    const fields = record.value as readonly string[];
    if (names === undefined) {
      names = fields.map((name) => name.trim());
      repeated = repeatedName(names);
      return null;
    }
    if (repeated !== undefined)
      return { line: record.line, problem: `the header contains the column ${JSON.stringify(repeated)} twice` };
    if (fields.length !== names.length)
      return {
        line: record.line,
        problem: `the row has ${fields.length} fields; expected ${names.length}, as in the header`,
      };
    return { line: record.line, value: Object.fromEntries(names.map((name, index) => [name, fields[index] ?? ''])) };
  };
  for await (const line of csvLines(file, maxRowBytes, onBytes)) {
    const [, separator] = records === undefined && 'text' in line ? (separatorLine.exec(line.text) ?? []) : [];
    if (separator !== undefined) {
      records = new Records(separator, maxRowBytes);
      continue;
    }
    records ??= new Records(
      /\.tsv(\.gz)?$/i.test(file) ? '\t' : delimiterOf('text' in line ? line.text : ''),
      maxRowBytes,
    );
    for (const record of records.take(line)) {
      const row = rowOf(record);
      if (row) yield row;
    }
  }
  for (const record of records?.end() ?? []) {
    const row = rowOf(record);
    if (row) yield row;
  }
}
