import type { BackendValues } from '@tensorflow/tfjs-core';

/** Numbers are given away as copies: whoever reads them may change them. */
export const copied = (values: BackendValues): BackendValues => (ArrayBuffer.isView(values) ? values.slice() : values);

/** The pairs of numbers of a complex64 tensor. */
export function interleave(real: BackendValues, imag: BackendValues): Float32Array {
  const reals = real as Float32Array;
  const imags = imag as Float32Array;
  const pairs = new Float32Array(2 * reals.length);
  for (let index = 0; index < reals.length; index++) {
    pairs[2 * index] = reals[index] ?? 0;
    pairs[2 * index + 1] = imags[index] ?? 0;
  }
  return pairs;
}
