/**
 * Checks the pages of a column before they are decoded. The decoder trusts lengths and counts in the file: it would
 * allocate what a damaged byte asks for, or loop without an end.
 */

/** The columns of the schema that decide how a page is laid out. */
export interface ColumnLevels {
  readonly repetition: number;
  readonly definition: number;
  readonly isBoolean: boolean;
  /** The largest uncompressed page in bytes. */
  readonly maxPageBytes: number;
  /** The largest number of values of a page. */
  readonly maxValues: number;
}

type Fields = ReadonlyMap<number, Field>;
type Field = number | boolean | Fields | readonly (Field | undefined)[];

const MAX_DEPTH = 8;

/** Reads the numbers, structs and, if they are kept, lists of Thrift's compact protocol; other values are skipped. */
class Thrift {
  constructor(
    private readonly bytes: Uint8Array,
    public at: number,
    private readonly keepsLists = false,
  ) {}

  private byte(): number {
    const byte = this.bytes[this.at++];
    if (byte === undefined) throw new Error('a page is incomplete');
    return byte;
  }

  /** Reads an unsigned number of at most ten bytes. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** (7 * shift);
      if (byte < 0x80) return value;
    }
    throw new Error('a number of a page is too long');
  }

  integer(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  struct(depth = 0): Fields {
    if (depth > MAX_DEPTH) throw new Error('a structure of the metadata is nested too deeply');
    const fields = new Map<number, Field>();
    let id = 0;
    for (;;) {
      const head = this.byte();
      const type = head & 0x0f;
      if (type === 0) return fields;
      id = head >> 4 === 0 ? this.integer() : id + (head >> 4);
      const value = this.value(type, depth);
      if (value !== undefined) fields.set(id, value);
    }
  }

  private list(depth: number): readonly (Field | undefined)[] | undefined {
    const head = this.byte();
    const size = head >> 4 === 15 ? this.varint() : head >> 4;
    // An item takes at least one byte.
    if (depth > MAX_DEPTH || size > this.bytes.length - this.at) throw new Error('a list of the metadata is too long');
    const type = head & 0x0f;
    const items: (Field | undefined)[] = [];
    for (let item = 0; item < size; item++) {
      // Booleans of a list take a byte each.
      const value = this.value(type === 1 || type === 2 ? 3 : type, depth + 1);
      if (this.keepsLists) items.push(value);
    }
    return this.keepsLists ? items : undefined;
  }

  private value(type: number, depth: number): Field | undefined {
    switch (type) {
      case 1:
      case 2:
        return type === 1;
      case 3:
        return this.byte();
      case 4:
      case 5:
      case 6:
        return this.integer();
      case 7:
        this.at += 8;
        return undefined;
      case 8: {
        const length = this.varint();
        this.at += length;
        return undefined;
      }
      case 9:
        return this.list(depth);
      case 12:
        return this.struct(depth + 1);
      default:
        throw new Error(`the metadata has a value of the type ${type}`);
    }
  }
}

/** Checks the lengths in metadata that the decoder would trust. @throws if a list is longer than the metadata */
export function checkThrift(bytes: Uint8Array): void {
  new Thrift(bytes, 0).struct();
}

/** Where a page is, by the page index of its column. */
export interface PageLocation {
  readonly offset: number;
  readonly bytes: number;
  /** The number of its first row in the group. */
  readonly firstRow: number;
}

/** Reads an offset index of Parquet. @throws if it is damaged */
export function readLocations(bytes: Uint8Array): readonly PageLocation[] {
  const list = new Thrift(bytes, 0, true).struct().get(1);
  if (!Array.isArray(list)) throw new Error('a page index has no pages');
  return (list as readonly Field[]).map((item) => {
    const fields = item instanceof Map ? (item as Fields) : undefined;
    const [offset, size, firstRow] = [1, 2, 3].map((id) => fields?.get(id));
    if (typeof offset !== 'number' || typeof size !== 'number' || typeof firstRow !== 'number')
      throw new Error('a page of a page index is incomplete');
    return { offset, bytes: size, firstRow };
  });
}

export interface Page {
  /** The start of its header. */
  readonly header: number;
  /** The range of the page without its header. */
  readonly start: number;
  readonly end: number;
  readonly uncompressed: number;
  readonly values: number;
  readonly encoding: number;
  readonly isDictionary: boolean;
  /** False only for pages of version 2 whose values are not compressed in spite of the codec. */
  readonly isCompressed: boolean;
  /** The start of what is decompressed: after the levels of a page of version 2. */
  readonly body: number;
  /** The lengths of the levels of a page of version 2; null for version 1. */
  readonly levels: { readonly repetition: number; readonly definition: number; readonly nulls: number } | null;
}

const numberOf = (fields: Fields | undefined, id: number): number => {
  const value = fields?.get(id);
  return typeof value === 'number' ? value : 0;
};

const structOf = (fields: Fields, id: number): Fields | undefined => {
  const value = fields.get(id);
  return value instanceof Map ? (value as Fields) : undefined;
};

function readPage(bytes: Uint8Array, at: number): Page {
  const thrift = new Thrift(bytes, at);
  const header = thrift.struct();
  const [first, dictionary, second] = [5, 7, 8].map((id) => structOf(header, id));
  const data = first ?? dictionary ?? second;
  const levels =
    second === undefined
      ? null
      : { definition: numberOf(second, 5), repetition: numberOf(second, 6), nulls: numberOf(second, 2) };
  return {
    header: at,
    start: thrift.at,
    body: thrift.at + (levels === null ? 0 : levels.repetition + levels.definition),
    isCompressed: second?.get(7) !== false,
    end: thrift.at + numberOf(header, 3),
    uncompressed: numberOf(header, 2),
    values: numberOf(data, 1),
    encoding: numberOf(data, second === undefined ? 2 : 4),
    isDictionary: dictionary !== undefined,
    levels,
  };
}

const isCount = (value: number, most: number): boolean => Number.isSafeInteger(value) && value >= 0 && value <= most;

/** Reads and checks the headers of consecutive pages. @throws if a size or count is invalid */
export function pagesOf(bytes: Uint8Array, { maxPageBytes, maxValues }: ColumnLevels): readonly Page[] {
  const pages: Page[] = [];
  // The decoder ignores a single byte at the end.
  for (let at = 0; at < bytes.length - 1;) {
    const page = readPage(bytes, at);
    if (!isCount(page.end - page.start, bytes.length - page.start))
      throw new Error(`a page ends outside of its column`);
    if (!isCount(page.uncompressed, maxPageBytes))
      throw new Error(`a page of ${page.uncompressed} bytes is larger than ${maxPageBytes} bytes`);
    if (!isCount(page.values, maxValues))
      throw new Error(`a page of ${page.values} values has more than ${maxValues} values`);
    if (page.levels !== null) {
      const { repetition, definition, nulls } = page.levels;
      const length = Math.min(page.uncompressed, page.end - page.start);
      if (!isCount(repetition, length) || !isCount(definition, length - repetition) || !isCount(nulls, page.values))
        throw new Error('the levels of a page are longer than the page');
    }
    pages.push(page);
    at = page.end;
  }
  return pages;
}

const widthOf = (level: number): number => 32 - Math.clz32(level);

/** Values that a writer may add to fill its last run. */
const PADDING = 512;

/**
 * Checks the runs of a hybrid of run-length and bit-packed values.
 *
 * @throws if a run has more values than the page
 */
function checkRuns(bytes: Uint8Array, start: number, end: number, width: number, values: number): void {
  if (width > 32) throw new Error(`values of ${width} bits`);
  let at = start;
  for (let seen = 0; seen < values && at < end;) {
    let head = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      head += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
      if (shift > 28) throw new Error('the length of a run is too long');
    }
    const count = head % 2 === 1 ? ((head - 1) / 2) * 8 : head / 2;
    if (seen + count > values + PADDING) throw new Error(`a run of ${count} values in a page of ${values}`);
    at += head % 2 === 1 ? (count / 8) * width : Math.ceil(width / 8);
    seen += count;
  }
}

/** Checks the levels of a page of version 2, which are never compressed. @throws if a run is too long */
export function checkLevels(bytes: Uint8Array, page: Page, column: ColumnLevels): void {
  if (page.levels === null) return;
  const middle = page.start + page.levels.repetition;
  const end = middle + page.levels.definition;
  if (column.repetition > 0) checkRuns(bytes, page.start, middle, widthOf(column.repetition), page.values);
  if (column.definition > 0) checkRuns(bytes, middle, end, widthOf(column.definition), page.values);
}

const RLE = 3;
const DICTIONARY = [2, 8];
const DELTA_BYTE_ARRAY = 7;
const DELTA = [5, 6, DELTA_BYTE_ARRAY];

/** Checks the decompressed bytes of a page: levels of version 1, and values. @throws if a count is too large */
export function checkValues(bytes: Uint8Array, page: Page, column: ColumnLevels): void {
  if (page.isDictionary) {
    // A value takes at least one bit.
    if (page.values > bytes.length * 8) throw new Error(`a dictionary of ${page.values} values`);
    return;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  for (const level of page.levels === null ? [column.repetition, column.definition] : []) {
    if (level === 0) continue;
    const length = view.getUint32(at, true);
    if (length > bytes.length - at - 4) throw new Error('the levels of a page are longer than the page');
    checkRuns(bytes, at + 4, at + 4 + length, widthOf(level), page.values);
    at += 4 + length;
  }
  const isFirst = page.levels === null;
  const isRuns = DICTIONARY.includes(page.encoding) || page.encoding === RLE;
  // The decoder reads a length of four bytes before booleans, the width of the values before others.
  if (isRuns && (isFirst ? column.isBoolean : page.encoding === RLE))
    checkRuns(bytes, at + 4, bytes.length, 1, page.values);
  else if (isRuns) checkRuns(bytes, at + 1, bytes.length, bytes[at] ?? 0, page.values);
  else if (DELTA.includes(page.encoding)) checkDelta(bytes, at);
  if (page.encoding === DELTA_BYTE_ARRAY) checkPrefixes(bytes, at, page, column);
}

/** The largest block of delta-encoded values; writers use 128 or 256 values. */
const MAX_BLOCK = 1 << 20;

function checkDelta(bytes: Uint8Array, start: number): void {
  const reader = new Thrift(bytes, start);
  for (const name of ['block', 'number of miniblocks']) {
    const value = reader.varint();
    if (value < 1 || value > MAX_BLOCK) throw new Error(`a ${name} of delta-encoded values is ${value}`);
  }
}

/**
 * Checks the lengths of values that share prefixes with the values before them: a few bytes can stand for terabytes.
 *
 * @throws if all values together are longer than a page may be
 */
function checkPrefixes(bytes: Uint8Array, start: number, page: Page, column: ColumnLevels): void {
  const most = page.values - (page.levels?.nulls ?? 0);
  const prefixes = readDeltas(bytes, start, most);
  const suffixes = readDeltas(bytes, prefixes.end, most);
  let total = 0;
  for (const [index, suffix] of suffixes.values.entries()) {
    const prefix = prefixes.values[index] ?? 0;
    if (prefix < 0 || suffix < 0) throw new Error('the length of a value is negative');
    total += prefix + suffix;
  }
  if (total > column.maxPageBytes)
    throw new Error(`a page whose values have ${total} bytes is larger than ${column.maxPageBytes} bytes`);
}

/**
 * Reads the integers of Parquet's encoding DELTA_BINARY_PACKED, up to 32 bits each.
 *
 * @param most the largest number of them
 */
function readDeltas(bytes: Uint8Array, start: number, most: number): { readonly values: number[]; end: number } {
  const reader = new Thrift(bytes, start);
  const block = reader.varint();
  const miniblocks = reader.varint();
  const count = reader.varint();
  const size = block / miniblocks;
  if (!(size >= 1 && size <= MAX_BLOCK)) throw new Error(`a miniblock of ${size} delta-encoded values`);
  if (count > most) throw new Error(`${count} delta-encoded values in a page of ${most}`);
  const values = [reader.integer()].slice(0, count);
  let value = values[0] ?? 0;
  while (values.length < count) {
    const least = reader.integer();
    const widths = bytes.subarray(reader.at, (reader.at += miniblocks));
    for (const width of widths) {
      if (values.length >= count) break;
      if (width > 32) throw new Error(`delta-encoded values of ${width} bits`);
      for (let item = 0; item < size && values.length < count; item++) {
        value += least + bitsAt(bytes, reader.at * 8 + item * width, width);
        values.push(value);
      }
      reader.at += Math.ceil((size * width) / 8);
    }
    if (reader.at > bytes.length) throw new Error('delta-encoded values are incomplete');
  }
  return { values, end: reader.at };
}

/** Returns an unsigned integer of up to 32 bits that starts at a bit; the lowest bit is the first. */
function bitsAt(bytes: Uint8Array, bit: number, width: number): number {
  const first = bit >> 3;
  let value = 0;
  for (let index = 0; index < 5; index++) value += (bytes[first + index] ?? 0) * 2 ** (8 * index);
  return Math.floor(value / 2 ** (bit & 7)) % 2 ** width;
}
