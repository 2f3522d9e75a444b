import { WhetstoneError } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import { bytesPerElement, type StorageDtype, type TypedArray } from '../recorder/types.js';
import { gigabytes, memoryHint } from './out-of-memory.js';

/** Returns a typed array over `bytes`, which the caller owns. bfloat16 becomes float32 in a new buffer. */
export function typedArray(type: StorageDtype, bytes: ArrayBuffer): TypedArray {
  if (type === 'float32') return new Float32Array(bytes);
  if (type === 'int32') return new Int32Array(bytes);
  if (type === 'bfloat16') return widen(new Uint16Array(bytes));
  return new Uint8Array(bytes);
}

/**
 * Runs `work`, which allocates an array for all numbers of a tensor.
 *
 * @throws `OUT_OF_MEMORY` if JavaScript cannot allocate an array of this length
 */
export function inHostMemory<R>(type: StorageDtype, shape: readonly number[], work: (byteLength: number) => R): R {
  const bytes = sizeOfShape(shape) * bytesPerElement[type];
  try {
    return work(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `JavaScript cannot allocate an array of ${gigabytes(bytes)} for a tensor ${type} [${shape.join(', ')}].`,
      { hint: memoryHint, details: { bytes }, cause: error },
    );
  }
}

/** Converts bfloat16 to float32: a bfloat16 number is the upper half of a float32 number. */
function widen(halves: Uint16Array): Float32Array {
  const wide = new Float32Array(halves.length);
  const bits = new Uint32Array(wide.buffer);
  for (let index = 0; index < halves.length; index++) bits[index] = (halves[index] ?? 0) << 16;
  return wide;
}

/** Converts float32 to bfloat16, rounded to nearest even. */
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
