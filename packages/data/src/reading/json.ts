import { WhetstoneError } from '@whetstone/core/contract';
import { readBytes, type OnBytes } from './bytes.js';
import { readJsonLines } from './jsonl.js';
import { DEFAULT_MAX_ROW_BYTES } from '../choices.js';
import { type Row } from './row.js';
import { isRecord, parseExact } from '@whetstone/core/util';

const code = (character: string): number => character.charCodeAt(0);
const QUOTE = code('"');
const BACKSLASH = code('\\');
const COMMA = code(',');
const NEWLINE = code('\n');
const OPEN_LIST = code('[');
const CLOSE_LIST = code(']');
const OPEN_OBJECT = code('{');
const CLOSE_OBJECT = code('}');
const isSpace = (byte: number): boolean => byte === 0x20 || byte === NEWLINE || byte === 0x0d || byte === 0x09;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/** Keys that may hold the list of rows, if the file is one object. */
const ROW_KEYS = ['data', 'rows', 'train', 'examples', 'items', 'instances'];

/** The bytes of a list element; they are discarded once there are more than `maxBytes`. */
class Element {
  private chunks: Buffer[] = [];
  private bytes = 0;
  blank = true;
  constructor(
    readonly line: number,
    readonly maxBytes: number,
  ) {}

  add(chunk: Buffer): void {
    this.bytes += chunk.length;
    if (this.bytes > this.maxBytes) this.chunks = [];
    else this.chunks.push(chunk);
  }

  row(): Row {
    const { line } = this;
    if (this.bytes > this.maxBytes)
      return {
        line,
        problem: `the element has ${this.bytes} bytes; the limit is ${this.maxBytes} (option maxRowBytes)`,
      };
    try {
      const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(this.chunks));
      return { line, value: parseExact(text) };
    } catch (error) {
      return {
        line,
        problem: error instanceof SyntaxError ? `not valid JSON: ${error.message}` : 'the element is not valid UTF-8',
      };
    }
  }
}

/**
 * Yields the elements of a file that is one JSON list, in constant memory. Brackets and quotes are counted to find the
 * end of each element, so that an invalid element does not affect the others.
 */
async function* readList(file: string, maxBytes: number, onBytes?: OnBytes): AsyncGenerator<Row> {
  let line = 1;
  let depth = 0;
  let inText = false;
  let escaped = false;
  let element: Element | undefined;
  let closed = false;
  let bytesSeen = 0;
  for await (const chunk of readBytes(file, onBytes)) {
    let start = 0;
    for (let index = 0; index < chunk.length; index++) {
      const byte = chunk[index] as number;
      if (byte === NEWLINE) line++;
      if (inText) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inText = false;
        continue;
      }
      if (isSpace(byte) || (bytesSeen + index < 3 && byte === BYTE_ORDER_MARK[bytesSeen + index])) continue;
      if (closed) {
        yield { line, problem: 'the file has text after the end of the list' };
        return;
      }
      if (depth === 0) {
        depth = 1; // the opening bracket of the list, which the caller has checked
        start = index + 1;
        continue;
      }
      const ends = depth === 1 && (byte === COMMA || byte === CLOSE_LIST);
      if (ends) {
        element?.add(chunk.subarray(start, index));
        // "[]" and a trailing comma have no element.
        if (element) yield element.row();
        else if (byte === COMMA) yield { line, problem: 'an element is missing between two commas' };
        element = undefined;
        start = index + 1;
        if (byte === CLOSE_LIST) closed = true;
        continue;
      }
      if (!element) {
        element = new Element(line, maxBytes);
        start = index;
      }
      if (byte === QUOTE) inText = true;
      else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
      else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--;
    }
    element?.add(chunk.subarray(start));
    bytesSeen += chunk.length;
  }
  if (!closed) yield { line: element?.line ?? line, problem: 'the list is not closed: the file may be incomplete' };
}

/** Yields the rows of a file that is one object: the list of rows in it, or the object itself. */
async function* readObject(file: string, maxBytes: number, onBytes?: OnBytes): AsyncGenerator<Row> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of readBytes(file, onBytes)) {
    bytes += chunk.length;
    if (bytes > maxBytes * 8) {
      throw new WhetstoneError('FILE_UNREADABLE', 'The file is one JSON object and too large to parse at once.', {
        place: { file },
        expected: 'a JSON list of rows, or JSON Lines, which may have any size',
        found: `more than ${maxBytes * 8} bytes`,
      });
    }
    chunks.push(chunk);
  }
  let value: unknown;
  try {
    value = parseExact(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)));
  } catch (error) {
    yield {
      line: 1,
      problem: error instanceof SyntaxError ? `not valid JSON: ${error.message}` : 'the file is not valid UTF-8',
    };
    return;
  }
  const key = isRecord(value)
    ? ROW_KEYS.find((name) => Array.isArray((value as Record<string, unknown>)[name]))
    : undefined;
  const rows = isRecord(value) && key !== undefined ? (value[key] as unknown[]) : [value];
  for (const row of rows) yield { line: 1, value: row };
}

/** Returns the first non-space character of a file, and whether its first of several lines is valid JSON. */
async function inspectStart(
  file: string,
): Promise<{ readonly first: number | undefined; readonly lineIsJson: boolean }> {
  let head = Buffer.alloc(0);
  for await (const chunk of readBytes(file)) {
    head = Buffer.concat([head, chunk]);
    if (head.includes(NEWLINE) || head.length > 1 << 20) break;
  }
  const text = head
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .trimStart();
  const line = text.split('\n', 1)[0] ?? '';
  let lineIsJson = false;
  try {
    JSON.parse(line);
    lineIsJson = text.length > line.length;
  } catch {
    // The first line is not a complete JSON value.
  }
  return { first: text === '' ? undefined : text.charCodeAt(0), lineIsJson };
}

/** Returns whether the content of a file is JSON Lines, whatever its extension is. */
export async function holdsJsonLines(file: string): Promise<boolean> {
  const { first, lineIsJson } = await inspectStart(file);
  return lineIsJson && first !== OPEN_LIST;
}

/**
 * Yields the rows of a `.json` file: a list, an object with a list of rows (`{"data": […]}`), one conversation, or JSON
 * Lines.
 */
export async function* readJson(
  file: string,
  maxRowBytes = DEFAULT_MAX_ROW_BYTES,
  onBytes?: OnBytes,
): AsyncGenerator<Row> {
  const { first, lineIsJson } = await inspectStart(file);
  if (first === undefined) return;
  if (lineIsJson && first !== OPEN_LIST) yield* readJsonLines(file, maxRowBytes, onBytes);
  else if (first === OPEN_LIST) yield* readList(file, maxRowBytes, onBytes);
  else yield* readObject(file, maxRowBytes, onBytes);
}
