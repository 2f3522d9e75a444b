/**
 * A number of a data file that a JavaScript number would change: a whole float (`1.0`, `-0.0`), an integer beyond 2^53,
 * or a decimal. Its text is the number as Python's `json` writes it. It is a String object, which `structuredClone`
 * preserves; `Number(value)` is the nearest JavaScript number.
 */
export interface WrittenNumber {
  toString(): string;
  valueOf(): string;
}

/** Creates a number from its text. */
export const writtenNumber = (text: string): WrittenNumber => Object(text) as WrittenNumber;

export const isWrittenNumber = (value: unknown): value is WrittenNumber =>
  typeof value === 'object' && value !== null && value.constructor === String;

/** Formats a float as Python's `repr` does. */
export function pythonFloat(number: number): string {
  if (Number.isNaN(number)) return 'nan';
  if (!Number.isFinite(number)) return number > 0 ? 'inf' : '-inf';
  if (number !== 0 && (Math.abs(number) >= 1e16 || Math.abs(number) < 1e-4))
    return number.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  return Number.isInteger(number) ? (Object.is(number, -0) ? '-0.0' : `${number}.0`) : String(number);
}

/** Returns a float as a JavaScript number, or as a written number if that would look like an integer. */
export const floatValue = (number: number): number | WrittenNumber =>
  Number.isInteger(number) ? writtenNumber(pythonFloat(number)) : number;

/** Returns an integer as a JavaScript number, or as a written number if that cannot represent it. */
export function integerValue(digits: string | bigint): number | WrittenNumber {
  const number = Number(digits);
  return Number.isSafeInteger(number) || String(number) === String(digits)
    ? number
    : writtenNumber(BigInt(digits).toString());
}

/** Text that may contain a number which `JSON.parse` changes: whole floats, exponents, and 16 or more digits. */
const CANDIDATE = /\d\.0+(?!\d)|\d[eE][-+]?\d|\d[\d.]{15,}/;
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;

function exactNumber(written: string): number | WrittenNumber {
  return /^-?\d+$/.test(written) ? integerValue(written) : floatValue(Number(written));
}

/** Returns the index after the string that starts at `start` of valid JSON. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); ; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text[at - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return at + 1;
  }
}

/** Marks written numbers in the text that `JSON.parse` reads; no data contains it. */
const MARK = `written-number-${Math.random().toString(36).slice(2)}-${Math.random().toString(36).slice(2)}:`;

/**
 * Parses JSON like `JSON.parse`, except that numbers which a JavaScript number would change are {@link WrittenNumber}s.
 *
 * @throws `SyntaxError` if the text is not valid JSON.
 */
export function parseExact(text: string): unknown {
  const value = JSON.parse(text) as unknown;
  if (!CANDIDATE.test(text)) return value;
  let marked = '';
  let found = false;
  for (let at = 0; at < text.length;) {
    const quote = text.indexOf('"', at);
    const outside = text.slice(at, quote === -1 ? undefined : quote);
    marked += outside.replace(NUMBER, (written) => {
      const number = exactNumber(written);
      if (typeof number === 'number') return written;
      found = true;
      return `"${MARK}${String(number)}"`;
    });
    if (quote === -1) break;
    at = endOfString(text, quote);
    marked += text.slice(quote, at);
  }
  if (!found) return value;
  return JSON.parse(marked, (_key, item: unknown) =>
    typeof item === 'string' && item.startsWith(MARK) ? writtenNumber(item.slice(MARK.length)) : item,
  ) as unknown;
}

function containsWrittenNumber(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return value === Infinity || value === -Infinity;
  return isWrittenNumber(value) || Object.values(value).some(containsWrittenNumber);
}

/** Formats a value like `JSON.stringify`, with every {@link WrittenNumber} as it is written. */
export function stringifyExact(value: unknown): string {
  return containsWrittenNumber(value) ? stringify(value) : JSON.stringify(value);
}

function stringify(value: unknown): string {
  if (isWrittenNumber(value)) return String(value);
  if (value === Infinity || value === -Infinity) return value > 0 ? '1e999' : '-1e999';
  if (Array.isArray(value)) return `[${value.map((item) => stringify(item ?? null)).join(',')}]`;
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => `${JSON.stringify(key)}:${stringify(item)}`)
      .join(',')}}`;
  return JSON.stringify(value);
}

/** Replaces every {@link WrittenNumber} in plain data by the nearest JavaScript number. */
export function plainNumbers<T>(value: T): T {
  return (containsWrittenNumber(value) ? plain(value) : value) as T;
}

function plain(value: unknown): unknown {
  if (isWrittenNumber(value)) return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  return value;
}
