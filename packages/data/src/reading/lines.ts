import { readBytes, type OnBytes } from './bytes.js';

const NEWLINE = 0x0a;
const BYTE_ORDER_MARK = '\ufeff';

/** A row longer than this is reported instead of read: 32 MiB, some 8 million tokens. */
export const DEFAULT_MAX_ROW_BYTES = 32 * 1024 * 1024;

/** One line of text without its end, or the reason why it cannot be had. */
export type Line =
  | { readonly line: number; readonly text: string }
  | { readonly line: number; readonly problem: string };

const megabytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

function decodeLine(line: number, bytes: Uint8Array): Line {
  const text = decodeWhole(bytes);
  return text === null ? { line, problem: 'the line is not valid UTF-8' } : { line, text: tidyLine(text) };
}

/** Whole lines of a file, one after the other; the last may lack its end. */
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
  problem: `the line has ${megabytes(bytes)}; the longest that is read has ${megabytes(maxBytes)} (option maxRowBytes)`,
});

/**
 * A text file as blocks of whole lines, in constant memory: a line longer than `maxBytes` comes as a problem of its
 * own.
 */
export async function* readLineBlocks(
  file: string,
  maxBytes = DEFAULT_MAX_ROW_BYTES,
  onBytes?: OnBytes,
  chunkBytes?: number,
): AsyncGenerator<LineBlock | { readonly line: number; readonly problem: string }> {
  let begun: Buffer[] = [];
  let begunBytes = 0;
  let line = 1;
  const begin = (piece: Buffer): void => {
    begunBytes += piece.length;
    if (begunBytes <= maxBytes) begun.push(piece);
    else begun = [];
  };
  for await (const chunk of readBytes(file, onBytes, chunkBytes)) {
    let start = 0;
    if (begunBytes + chunk.length > maxBytes) {
      // Only here can a line be too long: its end is looked for by itself.
      const end = chunk.indexOf(NEWLINE);
      if (begunBytes + (end === -1 ? chunk.length : end) > maxBytes) {
        if (end === -1) {
          begin(chunk);
          continue;
        }
        yield tooLong(line++, begunBytes + end, maxBytes) as { line: number; problem: string };
        [begun, begunBytes, start] = [[], 0, end + 1];
      }
    }
    const last = chunk.lastIndexOf(NEWLINE);
    if (last >= start) {
      const bytes =
        begun.length === 0
          ? chunk.subarray(start, last + 1)
          : Buffer.concat([...begun, chunk.subarray(start, last + 1)]);
      yield { bytes, firstLine: line };
      line += countLines(bytes);
      [begun, begunBytes] = [[], 0];
      start = last + 1;
    }
    if (start < chunk.length) begin(chunk.subarray(start));
  }
  if (begunBytes > maxBytes) yield tooLong(line, begunBytes, maxBytes) as { line: number; problem: string };
  else if (begunBytes > 0) yield { bytes: Buffer.concat(begun), firstLine: line };
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const tidyLine = (text: string): string => {
  const whole = text.endsWith('\r') ? text.slice(0, -1) : text;
  return whole.startsWith(BYTE_ORDER_MARK) ? whole.slice(1) : whole;
};

/** The lines of a block. One that is not UTF-8 or longer than `maxBytes` is a problem. */
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
 * The lines of a text file, in constant memory. LF and CRLF both end a line; a byte-order mark at the start of a line
 * is dropped. Lines that are not UTF-8 or longer than `maxBytes` come as problems, and reading goes on after them.
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
