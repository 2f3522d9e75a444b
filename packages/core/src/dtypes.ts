/**
 * Element types of the safetensors format and their conversion to numbers. All bytes are little-endian, as in the
 * format and on all platforms that Node supports.
 */

import { bytesOf } from './util/index.js';

/** The size of an element in bytes, by dtype. */
export const bytesPerElement = {
  F4: 0.5,
  F6_E2M3: 0.75,
  F6_E3M2: 0.75,
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  F8_E5M2FNUZ: 1,
  F8_E4M3FNUZ: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  C64: 8,
  I64: 8,
  U64: 8,
} as const;

export type SafetensorsDtype = keyof typeof bytesPerElement;

/** The dtypes in which float32 weights can be written. */
export type WeightDtype = 'F32' | 'F16' | 'BF16';

export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** Returns whether a value is the name of a dtype of the safetensors format. */
export function isSafetensorsDtype(name: unknown): name is SafetensorsDtype {
  return typeof name === 'string' && Object.hasOwn(bytesPerElement, name);
}

/**
 * Returns a typed array on `bytes`, which must be aligned. The elements of F16, BF16 and F8 are bit patterns; F4 and F6
 * are bytes, C64 is pairs of numbers.
 */
export function viewAs(dtype: SafetensorsDtype, bytes: Uint8Array): TensorData {
  const { buffer, byteOffset } = bytes;
  const length = bytes.byteLength / bytesPerElement[dtype];
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, length);
    case 'C64':
      return new Float32Array(buffer, byteOffset, 2 * length);
    case 'F4':
    case 'F6_E2M3':
    case 'F6_E3M2':
      return new Uint8Array(buffer, byteOffset, bytes.byteLength);
    case 'F64':
      return new Float64Array(buffer, byteOffset, length);
    case 'I8':
      return new Int8Array(buffer, byteOffset, length);
    case 'I16':
      return new Int16Array(buffer, byteOffset, length);
    case 'I32':
      return new Int32Array(buffer, byteOffset, length);
    case 'U32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'I64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'U64':
      return new BigUint64Array(buffer, byteOffset, length);
    case 'F16':
    case 'BF16':
    case 'U16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'BOOL':
    case 'U8':
    case 'F8_E5M2':
    case 'F8_E4M3':
    case 'F8_E8M0':
    case 'F8_E5M2FNUZ':
    case 'F8_E4M3FNUZ':
      return new Uint8Array(buffer, byteOffset, length);
  }
}

/** Returns whether {@link widenInto} can convert a dtype to float32. */
export function isNumeric(dtype: SafetensorsDtype): boolean {
  return !/^(F8_|F6_|F4|C64)/.test(dtype);
}

/**
 * Converts the elements of `bytes` to float32 and writes them to `target` from `offset` on. 64-bit values are rounded.
 */
export function widenInto(target: Float32Array, offset: number, dtype: SafetensorsDtype, bytes: Uint8Array): void {
  const elements = viewAs(dtype, bytes);
  if (dtype === 'BF16') {
    const bits = new Uint32Array(target.buffer, target.byteOffset + 4 * offset, elements.length);
    for (let i = 0; i < elements.length; i++) bits[i] = (elements[i] as number) << 16;
  } else if (dtype === 'F16') {
    const table = float16Values();
    for (let i = 0; i < elements.length; i++) target[offset + i] = table[elements[i] as number] ?? NaN;
  } else if (elements instanceof BigInt64Array || elements instanceof BigUint64Array) {
    for (let i = 0; i < elements.length; i++) target[offset + i] = Number(elements[i]);
  } else {
    target.set(elements, offset);
  }
}

let float16Table: Float32Array | undefined;

/** Returns the numbers of all binary16 bit patterns. */
function float16Values(): Float32Array {
  if (float16Table !== undefined) return float16Table;
  const table = new Float32Array(65_536);
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) table[bits] = fraction === 0 ? sign * Infinity : NaN;
    else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  float16Table = table;
  return table;
}

/** Rounds float32 bits to bfloat16, ties to even. NaN stays NaN. */
function bfloat16FromBits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Rounds float32 bits to binary16, ties to even. Too large numbers become infinity; NaN stays NaN. */
function float16FromBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above round to infinity
  if (magnitude >= 0x38800000) {
    const rebased = magnitude - 0x38000000; // exponent bias 127 → 15
    return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign; // up to half of the smallest subnormal
  const shift = 126 - (magnitude >>> 23);
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const half = (1 << (shift - 1)) - 1;
  return sign | ((fraction + half + ((fraction >>> shift) & 1)) >>> shift);
}

/**
 * Converts float32 numbers to the bytes of `dtype`. Rounds to nearest, ties to even. For F32, the result shares memory
 * with `values`.
 */
export function narrow(values: Float32Array, dtype: WeightDtype): Uint8Array {
  if (dtype === 'F32') return bytesOf(values);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  const round = dtype === 'BF16' ? bfloat16FromBits : float16FromBits;
  for (let i = 0; i < bits.length; i++) halves[i] = round(bits[i] ?? 0);
  return new Uint8Array(halves.buffer);
}

/** Converts the bytes of `dtype` to float32 numbers. */
export function widen(bytes: Uint8Array, dtype: WeightDtype): Float32Array {
  const values = new Float32Array(bytes.byteLength / bytesPerElement[dtype]);
  widenInto(values, 0, dtype, bytes);
  return values;
}
