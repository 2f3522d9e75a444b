import type { BackendValues } from '@tensorflow/tfjs-core';

/** Numbers are given away as copies: whoever reads them may change them. */
export const copied = (values: BackendValues): BackendValues => (ArrayBuffer.isView(values) ? values.slice() : values);

/** Real and imaginary numbers of pairs: what {@link interleave} joined. */
export function separate(pairs: BackendValues): readonly [Float32Array, Float32Array] {
  const numbers = pairs as Float32Array;
  const part = (first: 0 | 1): Float32Array => Float32Array.from({ length: numbers.length / 2 }, (_, index) => numbers[2 * index + first] ?? 0);
  return [part(0), part(1)];
}

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
