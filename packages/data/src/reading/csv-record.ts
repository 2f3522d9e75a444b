/**
 * Parses one CSV record, line by line. A quoted field may contain line breaks; a quote within it is doubled.
 * Quotes within an unquoted field are part of it, as in Python's `csv` and in spreadsheets.
 */
export interface RecordReader {
  /** Parses a line. Returns `open` if the line ends within a quoted field, which the next line continues. */
  feed(line: string): 'open' | 'done' | 'stray-quote';
  readonly fields: readonly string[];
}

export function createRecordReader(delimiter: string): RecordReader {
  const fields: string[] = [];
  /** The quoted field so far; null outside of a quoted field. */
  let quoted: string | null = null;

  /** Reads the rest of a quoted field. Returns the position after its closing quote, or -1 if the line ends first. */
  function readQuoted(line: string, from: number): number {
    let start = from;
    for (;;) {
      const quote = line.indexOf('"', start);
      if (quote === -1) {
        quoted = `${quoted ?? ''}${line.slice(start)}\n`;
        return -1;
      }
      quoted = (quoted ?? '') + line.slice(start, quote);
      if (line[quote + 1] !== '"') {
        fields.push(quoted);
        quoted = null;
        return quote + 1;
      }
      quoted += '"';
      start = quote + 2;
    }
  }

  return {
    fields,
    feed(line) {
      let at = 0;
      for (;;) {
        if (quoted !== null || line[at] === '"') {
          at = readQuoted(line, quoted === null ? at + 1 : at);
          if (at === -1) return 'open';
          if (at < line.length && !line.startsWith(delimiter, at)) return 'stray-quote';
        } else {
          const end = line.indexOf(delimiter, at);
          const field = line.slice(at, end === -1 ? undefined : end);
          fields.push(field);
          at = end === -1 ? line.length : end;
        }
        if (at >= line.length) return 'done';
        at += delimiter.length;
        if (at === line.length) {
          fields.push('');
          return 'done';
        }
      }
    },
  };
}
