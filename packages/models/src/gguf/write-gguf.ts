import { writeAtomically, writeFully } from '@whetstone/core/files';
import { sizeOfShape } from '@whetstone/core/util';
import { tensorTypes } from './tensor-types.js';

/** A metadata value with its type in GGUF. */
export type TypedValue =
  | { readonly type: 'uint32' | 'float32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'uint32s' | 'int32s' | 'float32s'; readonly value: readonly number[] }
  | { readonly type: 'strings'; readonly value: readonly string[] };

/** A tensor of a GGUF file to write. */
export interface GgufTensorToWrite {
  readonly name: string;
  /** Row-major: the reverse of GGUF's order. */
  readonly shape: readonly number[];
  /** The name of ggml's type. */
  readonly type: string;
  /** Returns the bytes of the tensor. Called when it is written, so that only one tensor at a time is in memory. */
  readonly data: () => Promise<Uint8Array>;
}

/** ggml's numbers of the types of metadata values. */
const valueTypes = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;

const ALIGNMENT = 32;
const VERSION = 3;

/** Bytes that are appended one value after another. All numbers are little-endian. */
class ByteWriter {
  private readonly chunks: Uint8Array[] = [];
  length = 0;

  bytes(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.length += chunk.length;
  }

  uint32(value: number): void {
    this.number(4, (view) => view.setUint32(0, value, true));
  }

  int32(value: number): void {
    this.number(4, (view) => view.setInt32(0, value, true));
  }

  float32(value: number): void {
    this.number(4, (view) => view.setFloat32(0, value, true));
  }

  uint64(value: number): void {
    this.number(8, (view) => view.setBigUint64(0, BigInt(value), true));
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.uint64(bytes.length);
    this.bytes(bytes);
  }

  joined(): Uint8Array {
    return Buffer.concat(this.chunks);
  }

  private number(size: number, set: (view: DataView) => void): void {
    const bytes = new Uint8Array(size);
    set(new DataView(bytes.buffer));
    this.bytes(bytes);
  }
}

function writeValue(out: ByteWriter, value: TypedValue): void {
  switch (value.type) {
    case 'uint32':
    case 'float32':
      out.uint32(valueTypes[value.type]);
      out[value.type](value.value);
      return;
    case 'bool':
      out.uint32(valueTypes.bool);
      out.bytes(Uint8Array.of(value.value ? 1 : 0));
      return;
    case 'string':
      out.uint32(valueTypes.string);
      out.string(value.value);
      return;
    case 'strings':
      writeArray(out, 'string', value.value, (item) => out.string(item));
      return;
    case 'uint32s':
      writeArray(out, 'uint32', value.value, (item) => out.uint32(item));
      return;
    case 'int32s':
      writeArray(out, 'int32', value.value, (item) => out.int32(item));
      return;
    case 'float32s':
      writeArray(out, 'float32', value.value, (item) => out.float32(item));
  }
}

function writeArray<T>(
  out: ByteWriter,
  type: keyof typeof valueTypes,
  values: readonly T[],
  write: (value: T) => void,
): void {
  out.uint32(valueTypes.array);
  out.uint32(valueTypes[type]);
  out.uint64(values.length);
  for (const value of values) write(value);
}

const padding = (length: number): number => (ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT;

/** Returns ggml's number of a type and the bytes of a tensor. */
function storageOf({ type, shape }: GgufTensorToWrite): { readonly number: number; readonly bytes: number } {
  for (const [number, { name, elements, bytes }] of tensorTypes)
    if (name === type) return { number, bytes: (sizeOfShape(shape) / elements) * bytes };
  throw new RangeError(`${type} is not a type of ggml`);
}

/** Returns the bytes of the tensors in a GGUF file, with their padding. */
export const tensorBytes = (tensors: readonly GgufTensorToWrite[]): number =>
  tensors.map((tensor) => storageOf(tensor).bytes).reduce((sum, bytes) => sum + bytes + padding(bytes), 0);

function encodeHeader(metadata: ReadonlyMap<string, TypedValue>, tensors: readonly GgufTensorToWrite[]): Uint8Array {
  const out = new ByteWriter();
  out.bytes(new TextEncoder().encode('GGUF'));
  out.uint32(VERSION);
  out.uint64(tensors.length);
  out.uint64(metadata.size);
  for (const [key, value] of metadata) {
    out.string(key);
    writeValue(out, value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    const { number, bytes } = storageOf(tensor);
    out.string(tensor.name);
    out.uint32(tensor.shape.length);
    for (const size of tensor.shape.toReversed()) out.uint64(size);
    out.uint32(number);
    out.uint64(offset);
    offset += bytes + padding(bytes);
  }
  out.bytes(new Uint8Array(padding(out.length)));
  return out.joined();
}

/**
 * Writes a GGUF file of version 3 atomically, one tensor at a time.
 *
 * @throws `DISK_FULL` and the other errors of `writeAtomically`
 */
export async function writeGguf(
  file: string,
  metadata: ReadonlyMap<string, TypedValue>,
  tensors: readonly GgufTensorToWrite[],
): Promise<void> {
  await writeAtomically(file, async (handle) => {
    await writeFully(handle, encodeHeader(metadata, tensors));
    for (const tensor of tensors) {
      const bytes = await tensor.data();
      await writeFully(handle, bytes);
      await writeFully(handle, new Uint8Array(padding(bytes.length)));
    }
  });
}
