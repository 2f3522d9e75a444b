import { WhetstoneError } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import { bytesPerElement, type StorageDtype, type TypedArray } from '../recorder/types.js';
import { gigabytes, memoryHint } from './out-of-memory.js';

/** A typed array over bytes that belong to the caller alone. */
export function typedArray(type: StorageDtype, bytes: ArrayBuffer): TypedArray {
  if (type === 'float32') return new Float32Array(bytes);
  if (type === 'int32') return new Int32Array(bytes);
  if (type === 'bfloat16') return widen(new Uint16Array(bytes));
  return new Uint8Array(bytes);
}

/**
 * Does what needs an array for all numbers of a tensor. Throws `OUT_OF_MEMORY` where JavaScript has none that is as
 * long.
 */
export function inHostMemory<R>(type: StorageDtype, shape: readonly number[], work: (byteLength: number) => R): R {
  const bytes = sizeOfShape(shape) * bytesPerElement[type];
  try {
    return work(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `JavaScript has no array for the ${gigabytes(bytes)} of a tensor ${type} [${shape.join(', ')}].`,
      { hint: memoryHint, details: { bytes }, cause: error },
    );
  }
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
