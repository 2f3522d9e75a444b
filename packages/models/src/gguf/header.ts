import { WhetstoneError } from '@whetstone/core/contract';
import { tensorTypes, type TensorType } from './tensor-types.js';
import { sizeOfShape } from '@whetstone/core/util';

export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

export interface GgufTensor {
  readonly name: string;
  /** Row-major: the reverse of GGUF's order. */
  readonly shape: readonly number[];
  readonly type: TensorType;
  /** Byte offset from the start of the file. */
  readonly begin: number;
  readonly end: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

export interface HeaderSource {
  readonly file: string;
  /** The bytes of the file that were read so far, from its start. */
  readonly bytes: Uint8Array;
  readonly fileBytes: number;
}

/** Thrown if the header continues after the bytes that were read, but not after the end of the file. */
export class HeaderTooShort extends Error {
  constructor(readonly needed: number) {
    super(`the header needs at least ${needed} bytes`);
  }
}

const MAGIC = 0x46554747; // 'GGUF', little-endian
const MAX_ARRAY_DEPTH = 4;
const MAX_DIMENSIONS = 4;
/**
 * Minimum bytes of a metadata entry and of a tensor entry. Counts in the file are checked against them before memory is
 * allocated.
 */
const MIN_ENTRY_BYTES = 13;
const MIN_TENSOR_BYTES = 24;

/** Creates a `GGUF_INVALID` error; `offset` is the byte of the file with the problem. */
export function invalidGguf(
  file: string,
  message: string,
  offset?: number,
  options: { readonly expected?: string; readonly found?: string; readonly tensor?: string } = {},
): WhetstoneError {
  const { tensor, ...rest } = options;
  return new WhetstoneError('GGUF_INVALID', offset === undefined ? message : `${message} (at byte ${offset})`, {
    place: { file, tensor },
    ...rest,
    ...(offset === undefined ? {} : { details: { offset } }),
    hint: 'The file is damaged or its download is incomplete. Download it again.',
  });
}

/**
 * Parses and checks a complete header.
 *
 * @throws `GGUF_INVALID` if the header is damaged
 * @throws `GGUF_UNSUPPORTED` if the version or byte order is not supported
 * @throws `HeaderTooShort` if more bytes of the file are needed
 */
export function parseHeader(source: HeaderSource): GgufHeader {
  const cursor = new Cursor(source);
  const { file, fileBytes } = source;
  if (fileBytes < 24 || cursor.uint32() !== MAGIC)
    throw invalidGguf(file, 'The file does not start with the magic number of GGUF.', 0, {
      expected: 'the characters GGUF',
    });
  const version = cursor.uint32();
  if (version !== 2 && version !== 3) {
    const swapped = version % 65_536 === 0 && version !== 0;
    throw new WhetstoneError(
      'GGUF_UNSUPPORTED',
      swapped ? 'The byte order of the file is big-endian.' : 'The version of the file is not supported.',
      {
        place: { file },
        expected: 'version 2 or 3, little-endian',
        found: `version ${swapped ? version >>> 24 : version}`,
      },
    );
  }
  const tensorCount = cursor.count(MIN_TENSOR_BYTES, 'tensors');
  const entryCount = cursor.count(MIN_ENTRY_BYTES, 'metadata entries');
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < entryCount; i++) {
    const at = cursor.position;
    const key = cursor.string();
    if (metadata.has(key)) throw invalidGguf(file, `The key ${JSON.stringify(key)} occurs twice.`, at);
    metadata.set(key, cursor.value(cursor.uint32(), 0));
  }
  const alignment = metadata.get('general.alignment') ?? 32;
  if (
    typeof alignment !== 'number' ||
    !Number.isInteger(alignment) ||
    alignment < 1 ||
    alignment > 1 << 20 ||
    alignment % 8 !== 0
  ) {
    throw invalidGguf(file, 'general.alignment is invalid.', undefined, {
      expected: 'a multiple of 8, at most 1048576',
      found: String(alignment),
    });
  }
  const entries = Array.from({ length: tensorCount }, () => readTensorEntry(cursor, file));
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  return { version, metadata, tensors: locateTensors(entries, { file, fileBytes, dataStart, alignment }) };
}

interface TensorEntry {
  readonly at: number;
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: TensorType;
  readonly bytes: number;
  readonly offset: number;
}

function readTensorEntry(cursor: Cursor, file: string): TensorEntry {
  const at = cursor.position;
  const name = cursor.string();
  const invalid = (message: string, found: unknown, expected?: string): WhetstoneError =>
    invalidGguf(file, message, at, {
      tensor: name,
      found: String(found),
      expected,
    });
  const dimensions = cursor.uint32();
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS)
    throw invalid('The tensor has an invalid number of dimensions.', dimensions, `1 to ${MAX_DIMENSIONS}`);
  const sizes = Array.from({ length: dimensions }, () => cursor.uint64());
  if (sizes.some((size) => size < 1n || size > BigInt(Number.MAX_SAFE_INTEGER)))
    throw invalid('The tensor has an invalid size.', `[${sizes.join(', ')}]`);
  const shape = sizes.map(Number).reverse();
  const typeNumber = cursor.uint32();
  const type = tensorTypes.get(typeNumber);
  if (type === undefined) throw invalid('The tensor has an unknown type.', typeNumber);
  const elements = sizeOfShape(shape);
  const row = shape.at(-1) ?? 1;
  if (!Number.isSafeInteger(elements)) throw invalid('The tensor is too large.', `[${shape.join(', ')}]`);
  if (row % type.elements !== 0)
    throw invalid(
      `The row length is not a multiple of the block size of ${type.name}.`,
      `${row} numbers`,
      `a multiple of ${type.elements}`,
    );
  const offset = cursor.uint64();
  return {
    at,
    name,
    shape,
    type,
    bytes: (elements / type.elements) * type.bytes,
    offset: offset > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(offset),
  };
}

/** Computes the byte ranges of all tensors and checks that they are in the file and do not overlap. */
function locateTensors(
  entries: readonly TensorEntry[],
  layout: { readonly file: string; readonly fileBytes: number; readonly dataStart: number; readonly alignment: number },
): Map<string, GgufTensor> {
  const { file, fileBytes, dataStart, alignment } = layout;
  const tensors = new Map<string, GgufTensor>();
  for (const { at, name, shape, type, bytes, offset } of entries) {
    if (tensors.has(name)) throw invalidGguf(file, 'Two tensors have the same name.', at, { tensor: name });
    if (offset % alignment !== 0)
      throw invalidGguf(file, 'The offset of the tensor is not aligned.', at, {
        tensor: name,
        expected: `a multiple of ${alignment}`,
        found: String(offset),
      });
    const begin = dataStart + offset;
    const end = begin + bytes;
    if (end > fileBytes)
      throw invalidGguf(file, 'The tensor ends beyond the end of the file.', at, {
        tensor: name,
        expected: `at most byte ${fileBytes}`,
        found: `byte ${end}`,
      });
    tensors.set(name, { name, shape, type, begin, end });
  }
  let previous: GgufTensor | undefined;
  for (const tensor of [...tensors.values()].sort((a, b) => a.begin - b.begin)) {
    if (previous !== undefined && tensor.begin < previous.end)
      throw invalidGguf(file, `The tensor overlaps ${previous.name}.`, undefined, { tensor: tensor.name });
    previous = tensor;
  }
  return tensors;
}

/** Minimum bytes of a value by its type number: a string has a length, an array has a type and a length. */
const MIN_VALUE_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];

/** Returns an integer as a number if a number represents it exactly. */
const numberIfSafe = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;

/**
 * Reads the values of a header one after another. Each method fails if the file ends within its value, with
 * `GGUF_INVALID`, or if more bytes of the file are needed, with `HeaderTooShort`.
 */
class Cursor {
  private readonly view: DataView;
  private readonly text = new TextDecoder('utf-8');
  private at = 0;

  constructor(private readonly source: HeaderSource) {
    const { buffer, byteOffset, byteLength } = source.bytes;
    this.view = new DataView(buffer, byteOffset, byteLength);
  }

  /** The offset of the next value in the file, in bytes. */
  get position(): number {
    return this.at;
  }

  uint32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  uint64(): bigint {
    return this.view.getBigUint64(this.take(8), true);
  }

  string(): string {
    const length = this.count(1, 'characters in a string');
    const from = this.take(length);
    return this.text.decode(this.source.bytes.subarray(from, from + length));
  }

  /** Reads a count of elements that take at least `minBytes` each. */
  count(minBytes: number, of: string): number {
    const from = this.at;
    const number = this.uint64();
    const max = Math.floor((this.source.fileBytes - this.at) / minBytes);
    if (number > BigInt(max))
      throw invalidGguf(this.source.file, `The file declares more ${of} than it can contain.`, from, {
        expected: `at most ${max}`,
        found: String(number),
      });
    return Number(number);
  }

  /**
   * Reads a metadata value.
   *
   * @param type the number of its type
   * @param depth the number of lists that contain it
   */
  value(type: number, depth: number): GgufValue {
    const { view } = this;
    switch (type) {
      case 0:
        return view.getUint8(this.take(1));
      case 1:
        return view.getInt8(this.take(1));
      case 2:
        return view.getUint16(this.take(2), true);
      case 3:
        return view.getInt16(this.take(2), true);
      case 4:
        return this.uint32();
      case 5:
        return view.getInt32(this.take(4), true);
      case 6:
        return view.getFloat32(this.take(4), true);
      case 7:
        return view.getUint8(this.take(1)) !== 0;
      case 8:
        return this.string();
      case 9:
        return this.array(depth);
      case 10:
        return numberIfSafe(this.uint64());
      case 11:
        return numberIfSafe(view.getBigInt64(this.take(8), true));
      case 12:
        return view.getFloat64(this.take(8), true);
      default:
        throw invalidGguf(this.source.file, 'A metadata value has an unknown type.', this.at - 4, {
          expected: '0 to 12',
          found: String(type),
        });
    }
  }

  private array(depth: number): GgufValue[] {
    if (depth >= MAX_ARRAY_DEPTH) throw invalidGguf(this.source.file, 'Lists are nested too deeply.', this.at);
    const type = this.uint32();
    const length = this.count(MIN_VALUE_BYTES[type] ?? 1, 'elements in a list');
    const values: GgufValue[] = [];
    for (let i = 0; i < length; i++) values.push(this.value(type, depth + 1));
    return values;
  }

  /** Moves past the next `size` bytes and returns the offset of the first. */
  private take(size: number): number {
    const { file, fileBytes, bytes } = this.source;
    const from = this.at;
    if (from + size > fileBytes)
      throw invalidGguf(file, 'The file ends within its header.', from, {
        expected: `at least ${from + size} bytes`,
        found: `${fileBytes} bytes`,
      });
    if (from + size > bytes.byteLength) throw new HeaderTooShort(from + size);
    this.at += size;
    return from;
  }
}
