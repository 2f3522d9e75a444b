import type { GgufValue } from '../header.js';

export interface TensorToWrite {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  /** ggml's type number; F32 (0) by default. */
  readonly type?: number;
  readonly bytes: Uint8Array;
}

/** Wrong values for a test to write into the header. */
export interface HeaderFaults {
  readonly version?: number;
  readonly tensorCount?: bigint;
  readonly entryCount?: bigint;
  readonly alignment?: number;
  readonly offset?: (offset: number, name: string) => bigint;
}

/**
 * Returns the bytes of a GGUF file of version 3, for tests. Numbers are float32 unless they are non-negative integers;
 * the first element of a list determines the element type.
 */
export function writeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly TensorToWrite[],
  faults: HeaderFaults = {},
): Uint8Array {
  const chunks: Uint8Array[] = [];
  const push = (size: number, set: (view: DataView) => void): void => {
    const bytes = new Uint8Array(size);
    set(new DataView(bytes.buffer));
    chunks.push(bytes);
  };
  const uint32 = (value: number): void => push(4, (view) => view.setUint32(0, value, true));
  const uint64 = (value: bigint): void => push(8, (view) => view.setBigUint64(0, value, true));
  const string = (text: string): void => {
    const bytes = new TextEncoder().encode(text);
    uint64(BigInt(bytes.length));
    chunks.push(bytes);
  };
  const value = (data: GgufValue): void => {
    if (typeof data === 'string') string(data);
    else if (typeof data === 'boolean') chunks.push(Uint8Array.of(data ? 1 : 0));
    else if (typeof data === 'bigint') uint64(data);
    else if (typeof data === 'number' && Number.isInteger(data) && data >= 0) uint32(data);
    else if (typeof data === 'number') push(4, (view) => view.setFloat32(0, data, true));
    else {
      uint32(typeOf(data[0] ?? 0, data));
      uint64(BigInt(data.length));
      for (const item of data) {
        if (typeof item === 'number' && typeOf(data[0] ?? 0, data) === 6)
          push(4, (view) => view.setFloat32(0, item, true));
        else value(item);
      }
    }
  };
  const length = (): number => chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const alignment = faults.alignment ?? 32;
  const padTo = (multiple: number): void =>
    void chunks.push(new Uint8Array((multiple - (length() % multiple)) % multiple));

  chunks.push(new TextEncoder().encode('GGUF'));
  uint32(faults.version ?? 3);
  const entries = Object.entries(metadata);
  uint64(faults.tensorCount ?? BigInt(tensors.length));
  uint64(faults.entryCount ?? BigInt(entries.length));
  for (const [key, data] of entries) {
    string(key);
    uint32(typeOf(data));
    value(data);
  }
  let offset = 0;
  for (const { name, shape, type = 0, bytes } of tensors) {
    string(name);
    uint32(shape.length);
    for (const size of [...shape].reverse()) uint64(BigInt(size));
    uint32(type);
    uint64(faults.offset?.(offset, name) ?? BigInt(offset));
    offset += Math.ceil(bytes.length / alignment) * alignment;
  }
  padTo(alignment);
  for (const { bytes } of tensors) {
    chunks.push(bytes);
    padTo(alignment);
  }
  const file = new Uint8Array(length());
  let at = 0;
  for (const chunk of chunks) {
    file.set(chunk, at);
    at += chunk.length;
  }
  return file;
}

function typeOf(data: GgufValue, siblings: readonly GgufValue[] = [data]): number {
  if (typeof data === 'string') return 8;
  if (typeof data === 'boolean') return 7;
  if (typeof data === 'bigint') return 10;
  if (typeof data === 'number')
    return siblings.every((item) => typeof item === 'number' && Number.isInteger(item) && item >= 0) ? 4 : 6;
  return 9;
}

/** Returns numbers as the bytes of float32. */
export function float32Bytes(values: Iterable<number>): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}
