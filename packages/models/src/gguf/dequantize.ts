/**
 * Dequantises blocks of GGUF's tensor types to float32. The layouts are ggml's: `d` is the scale of a block and `m` its
 * minimum, both in half precision. The low nibbles contain the first half of a block, the high nibbles the second.
 */
import { dequantizeKBlocks, isKType } from './dequantize-k.js';
import { tableBlocks } from './dequantize-tables.js';
import { half } from './half.js';

type Block = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

const uint16 = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
const halfAt = (bytes: Uint8Array, at: number): number => half(uint16(bytes, at));
const int8 = (byte: number): number => (byte << 24) >> 24;

const q40: Block = (bytes, at, out, to) => {
  const d = halfAt(bytes, at);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 2 + i] ?? 0;
    out[to + i] = d * ((byte & 15) - 8);
    out[to + 16 + i] = d * ((byte >> 4) - 8);
  }
};

const q41: Block = (bytes, at, out, to) => {
  const d = halfAt(bytes, at);
  const m = halfAt(bytes, at + 2);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 4 + i] ?? 0;
    out[to + i] = d * (byte & 15) + m;
    out[to + 16 + i] = d * (byte >> 4) + m;
  }
};

/** Returns the fifth bit of number i. Fifth bits are stored separately: bit i of 32 belongs to number i. */
const fifthBit = (bytes: Uint8Array, at: number, i: number): number =>
  (((bytes[at + (i >> 3)] ?? 0) >> (i & 7)) & 1) << 4;

const q50: Block = (bytes, at, out, to) => {
  const d = halfAt(bytes, at);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 6 + i] ?? 0;
    out[to + i] = d * (((byte & 15) | fifthBit(bytes, at + 2, i)) - 16);
    out[to + 16 + i] = d * (((byte >> 4) | fifthBit(bytes, at + 2, i + 16)) - 16);
  }
};

const q51: Block = (bytes, at, out, to) => {
  const d = halfAt(bytes, at);
  const m = halfAt(bytes, at + 2);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 8 + i] ?? 0;
    out[to + i] = d * ((byte & 15) | fifthBit(bytes, at + 4, i)) + m;
    out[to + 16 + i] = d * ((byte >> 4) | fifthBit(bytes, at + 4, i + 16)) + m;
  }
};

const q80: Block = (bytes, at, out, to) => {
  const d = halfAt(bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * int8(bytes[at + 2 + i] ?? 0);
};

const blocks: Readonly<Record<string, { readonly bytes: number; readonly elements: number; readonly read: Block }>> = {
  Q4_0: { bytes: 18, elements: 32, read: q40 },
  Q4_1: { bytes: 20, elements: 32, read: q41 },
  Q5_0: { bytes: 22, elements: 32, read: q50 },
  Q5_1: { bytes: 24, elements: 32, read: q51 },
  Q8_0: { bytes: 34, elements: 32, read: q80 },
  ...tableBlocks,
  F16: {
    bytes: 2,
    elements: 1,
    read: (bytes, at, out, to) => {
      out[to] = halfAt(bytes, at);
    },
  },
};

/** Returns whether {@link dequantize} supports the tensor type. */
export function canDequantize(type: string): boolean {
  return type === 'F32' || type === 'BF16' || Object.hasOwn(blocks, type) || isKType(type);
}

/** Returns `elements` numbers of a tensor as float32. The type must be one that {@link canDequantize} accepts. */
export function dequantize(type: string, bytes: Uint8Array, elements: number): Float32Array {
  const out = new Float32Array(elements);
  if (type === 'F32') {
    new Uint8Array(out.buffer).set(bytes.subarray(0, elements * 4));
    return out;
  }
  if (type === 'BF16') {
    const bits = new Uint32Array(out.buffer);
    for (let i = 0; i < elements; i++) bits[i] = uint16(bytes, 2 * i) << 16;
    return out;
  }
  if (isKType(type)) {
    dequantizeKBlocks(type, bytes, out);
    return out;
  }
  const block = blocks[type];
  if (block === undefined) throw new RangeError(`tensor type ${type} cannot be read`);
  for (let to = 0, at = 0; to < elements; to += block.elements, at += block.bytes) block.read(bytes, at, out, to);
  return out;
}
