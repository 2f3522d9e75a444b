import { readBytes } from './bytes.js';

const NEWLINE = 0x0a;
const BYTE_ORDER_MARK = '\ufeff';

/** A row longer than this is reported instead of read: 32 MiB, some 8 million tokens. */
export const DEFAULT_MAX_ROW_BYTES = 32 * 1024 * 1024;

/** One line of text without its end, or the reason why it cannot be had. */
export type Line = { readonly line: number; readonly text: string } | { readonly line: number; readonly problem: string };

const megabytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

function decodeLine(line: number, bytes: Buffer, decoder: InstanceType<typeof TextDecoder>): Line {
  try {
    let text = decoder.decode(bytes);
    if (text.endsWith('\r')) text = text.slice(0, -1);
    if (text.startsWith(BYTE_ORDER_MARK)) text = text.slice(1);
    return { line, text };
  } catch {
    return { line, problem: 'the line is not valid UTF-8' };
  }
}

/**
 * The lines of a text file, in constant memory. LF and CRLF both end a line; a byte-order mark at the start of a line is dropped.
 * Lines that are not UTF-8 or longer than `maxBytes` come as problems, and reading goes on after them.
 */
export async function* readLines(file: string, maxBytes = DEFAULT_MAX_ROW_BYTES): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let pieces: Buffer[] = [];
  let bytes = 0;
  let line = 1;
  const take = (piece: Buffer): void => {
    bytes += piece.length;
    if (bytes <= maxBytes) pieces.push(piece);
    else pieces = [];
  };
  const finish = (): Line => {
    const whole = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
    const result: Line =
      bytes > maxBytes
        ? { line, problem: `the line has ${megabytes(bytes)}; the longest that is read has ${megabytes(maxBytes)} (option maxRowBytes)` }
        : decodeLine(line, whole, decoder);
    pieces = [];
    bytes = 0;
    line++;
    return result;
  };
  for await (const chunk of readBytes(file)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      take(chunk.subarray(start, end));
      yield finish();
      start = end + 1;
    }
    if (start < chunk.length) take(chunk.subarray(start));
  }
  if (bytes > 0) yield finish();
}
