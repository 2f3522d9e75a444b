/**
 * Fields of one record of a table, read line by line: a quoted field may hold line breaks, and a quote within it is
 * doubled.
 */
export interface RecordReader {
  /** Reads a line; after `open`, the next line goes on within a quoted field. */
  feed(line: string): 'open' | 'done' | 'stray-quote';
  readonly fields: readonly string[];
}

export function createRecordReader(delimiter: string): RecordReader {
  const fields: string[] = [];
  /** What of a quoted field was read; null outside of one. */
  let quoted: string | null = null;

  /** Reads on within a quoted field; the position behind its end, or -1 where the line ends first. */
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
          if (field.includes('"')) return 'stray-quote';
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
