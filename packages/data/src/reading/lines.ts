import { DEFAULT_MAX_ROW_BYTES } from '../choices.js';
import { readBytes, type OnBytes } from './bytes.js';

const NEWLINE = 0x0a;
const BYTE_ORDER_MARK = '\ufeff';

/** One line of text without its line break, or the reason why it cannot be read. */
export type Line =
  | { readonly line: number; readonly text: string }
  | { readonly line: number; readonly problem: string };

const megabytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

function decodeLine(line: number, bytes: Uint8Array): Line {
  const text = decodeWhole(bytes);
  return text === null ? { line, problem: 'the line is not valid UTF-8' } : { line, text: tidyLine(text) };
}

/** Consecutive complete lines of a file; the last may lack its line break. */
export interface LineBlock {
  readonly bytes: Uint8Array;
  /** The number of the first line, from 1. */
  readonly firstLine: number;
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}

const tooLong = (line: number, bytes: number, maxBytes: number): Line => ({
  line,
  problem: `the line has ${megabytes(bytes)}; the limit is ${megabytes(maxBytes)} (option maxRowBytes)`,
});

/**
 * Yields a text file as blocks of complete lines, in constant memory. A line above `maxBytes` is yielded as a problem.
 */
export async function* readLineBlocks(
  file: string,
  maxBytes = DEFAULT_MAX_ROW_BYTES,
  onBytes?: OnBytes,
  chunkBytes?: number,
): AsyncGenerator<LineBlock | { readonly line: number; readonly problem: string }> {
  /** The start of a line whose end was not read yet; discarded once it is longer than `maxBytes`. */
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let line = 1;
  const addPending = (bytes: Buffer): void => {
    pendingBytes += bytes.length;
    if (pendingBytes <= maxBytes) pending.push(bytes);
    else pending = [];
  };
  for await (const chunk of readBytes(file, onBytes, chunkBytes)) {
    let start = 0;
    if (pendingBytes + chunk.length > maxBytes) {
      // The pending line may be too long: search for its end.
      const end = chunk.indexOf(NEWLINE);
      if (pendingBytes + (end === -1 ? chunk.length : end) > maxBytes) {
        if (end === -1) {
          addPending(chunk);
          continue;
        }
        yield tooLong(line++, pendingBytes + end, maxBytes) as { line: number; problem: string };
        [pending, pendingBytes, start] = [[], 0, end + 1];
      }
    }
    const last = chunk.lastIndexOf(NEWLINE);
    if (last >= start) {
      const bytes =
        pending.length === 0
          ? chunk.subarray(start, last + 1)
          : Buffer.concat([...pending, chunk.subarray(start, last + 1)]);
      yield { bytes, firstLine: line };
      line += countLines(bytes);
      [pending, pendingBytes] = [[], 0];
      start = last + 1;
    }
    if (start < chunk.length) addPending(chunk.subarray(start));
  }
  if (pendingBytes > maxBytes) yield tooLong(line, pendingBytes, maxBytes) as { line: number; problem: string };
  else if (pendingBytes > 0) yield { bytes: Buffer.concat(pending), firstLine: line };
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const tidyLine = (text: string): string => {
  const line = text.endsWith('\r') ? text.slice(0, -1) : text;
  return line.startsWith(BYTE_ORDER_MARK) ? line.slice(1) : line;
};

/** Yields the lines of a block. A line that is not UTF-8 or longer than `maxBytes` is yielded as a problem. */
export function* linesOf({ bytes, firstLine }: LineBlock, maxBytes = DEFAULT_MAX_ROW_BYTES): Generator<Line> {
  let line = firstLine;
  if (bytes.length <= maxBytes) {
    const text = decodeWhole(bytes);
    if (text !== null) {
      const lines = text.split('\n');
      if (lines.at(-1) === '') lines.pop();
      for (const one of lines) yield { line: line++, text: tidyLine(one) };
      return;
    }
  }
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let start = 0; start < buffer.length;) {
    const found = buffer.indexOf(NEWLINE, start);
    const end = found === -1 ? buffer.length : found;
    yield end - start > maxBytes ? tooLong(line, end - start, maxBytes) : decodeLine(line, buffer.subarray(start, end));
    line++;
    start = end + 1;
  }
}

function decodeWhole(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

/**
 * Yields the lines of a text file, in constant memory. Lines end with LF or CRLF; a byte-order mark at the start of a
 * line is removed. A line that is not UTF-8 or longer than `maxBytes` is yielded as a problem, and reading continues.
 */
export async function* readLines(
  file: string,
  maxBytes = DEFAULT_MAX_ROW_BYTES,
  onBytes?: OnBytes,
): AsyncGenerator<Line> {
  for await (const block of readLineBlocks(file, maxBytes, onBytes)) {
    if ('problem' in block) yield block;
    else yield* linesOf(block, maxBytes);
  }
}
