import type { OnBytes } from './bytes.js';
import { createRecordReader } from './csv-record.js';
import { DEFAULT_MAX_ROW_BYTES, readLines, type Line } from './lines.js';
import type { Row } from './row.js';

/** The delimiter that a table's header uses most: `,`, `;`, tab or `|`. */
function delimiterOf(header: string): string {
  const count = (delimiter: string): number => header.split(delimiter).length;
  return [',', ';', '\t', '|'].reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best));
}

const STRAY_QUOTE = 'a quote stands within a field; fields with quotes must be quoted, their quotes doubled';
const NEVER_CLOSED = 'a quote is opened and never closed';

/**
 * Reads records of lines. Where one cannot be read, the line on which it starts is reported, and the next line is tried
 * as the start of another.
 */
class Records {
  readonly #delimiter: string;
  readonly #maxBytes: number;
  /** Lines of the record that is open. */
  #waiting: { readonly line: number; readonly text: string }[] = [];
  #size = 0;
  #reader: ReturnType<typeof createRecordReader>;

  constructor(delimiter: string, maxBytes: number) {
    this.#delimiter = delimiter;
    this.#maxBytes = maxBytes;
    this.#reader = createRecordReader(delimiter);
  }

  *take(line: Line): Generator<Row> {
    if ('problem' in line) {
      // A record that is open is broken by it.
      yield* this.giveUp(STRAY_QUOTE);
      yield {
        line: line.line,
        problem: line.problem.includes('UTF-8') ? 'the row holds bytes that are not UTF-8' : line.problem,
      };
      return;
    }
    if (this.#waiting.length === 0 && line.text.trim() === '') return;
    this.#waiting.push(line);
    this.#size += line.text.length;
    const state = this.#reader.feed(line.text);
    if (state === 'done') {
      yield { line: this.#waiting[0]?.line ?? line.line, value: this.#reader.fields };
      this.#begin();
    } else if (state === 'stray-quote') {
      yield* this.giveUp(STRAY_QUOTE);
    } else if (this.#size > this.#maxBytes) {
      yield* this.giveUp(`${NEVER_CLOSED}, or its field is longer than is read (option maxRowBytes)`);
    }
  }

  /** Reports the record that is open, if one is, and reads its other lines anew. */
  *giveUp(problem: string): Generator<Row> {
    const [first, ...others] = this.#waiting;
    this.#begin();
    if (first === undefined) return;
    yield { line: first.line, problem };
    for (const line of others) yield* this.take(line);
  }

  /** The end of the file: every quote that is still open stays so. */
  *end(): Generator<Row> {
    while (this.#waiting.length > 0) yield* this.giveUp(NEVER_CLOSED);
  }

  #begin(): void {
    this.#waiting = [];
    this.#size = 0;
    this.#reader = createRecordReader(this.#delimiter);
  }
}

/**
 * Rows of a table with a header, `.csv` or `.tsv`; quoted fields may hold line breaks. Every value is text; the line is
 * where the row starts.
 */
export async function* readCsv(
  file: string,
  maxRowBytes = DEFAULT_MAX_ROW_BYTES,
  onBytes?: OnBytes,
): AsyncGenerator<Row> {
  let records: Records | undefined;
  let names: readonly string[] | undefined;
  const rowOf = (record: Row): Row | null => {
    if (!('value' in record)) return record;
    const fields = record.value as readonly string[];
    if (names === undefined) {
      names = fields.map((name) => name.trim());
      return null;
    }
    if (fields.length !== names.length)
      return { line: record.line, problem: 'the row has another number of fields than the header' };
    return { line: record.line, value: Object.fromEntries(names.map((name, index) => [name, fields[index] ?? ''])) };
  };
  for await (const line of readLines(file, maxRowBytes, onBytes)) {
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
