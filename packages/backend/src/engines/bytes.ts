import type { PhysicalType, TypedArray } from '../recorder/types.js';

/** A fresh typed array over bytes that belong to the caller alone. */
export function typedArray(type: PhysicalType, bytes: Uint8Array<ArrayBuffer>): TypedArray {
  if (type === 'float32') return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  if (type === 'int32') return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  if (type === 'bfloat16') return widen(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2));
  return bytes;
}

/** bfloat16 is float32's upper half. */
function widen(halves: Uint16Array): Float32Array {
  const wide = new Float32Array(halves.length);
  const bits = new Uint32Array(wide.buffer);
  for (let index = 0; index < halves.length; index++) bits[index] = (halves[index] ?? 0) << 16;
  return wide;
}

/** The upper half of float32 numbers, rounded to nearest even. */
export function narrow(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let index = 0; index < halves.length; index++) {
    const word = bits[index] ?? 0;
    const isNan = (word & 0x7fffffff) > 0x7f800000;
    halves[index] = isNan ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return halves;
}
