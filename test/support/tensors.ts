import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import { openSafetensors } from '@whetstone/core/safetensors';
import { expect } from 'vitest';

/** All tensors of a safetensors file as float32. */
export async function readTensors(file: string): Promise<ReadonlyMap<string, Float32Array>> {
  const reader = await openSafetensors(file);
  try {
    const result = new Map<string, Float32Array>();
    for (const name of reader.tensors.keys()) result.set(name, await reader.readFloat32(name));
    return result;
  } finally {
    await reader.close();
  }
}

/** Largest and mean absolute difference of two lists of numbers of one length. */
export function difference(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
): { readonly largest: number; readonly mean: number } {
  expect(actual.length).toBe(expected.length);
  let largest = 0;
  let sum = 0;
  for (let index = 0; index < expected.length; index++) {
    const distance = Math.abs((actual[index] ?? NaN) - (expected[index] ?? NaN));
    largest = distance <= largest ? largest : distance;
    sum += distance;
  }
  return { largest, mean: expected.length === 0 ? 0 : sum / expected.length };
}

/** Gives variables the values of a file, by name; every variable must have its tensor. */
export function assignAll(
  variables: ReadonlyMap<string, Variable>,
  values: ReadonlyMap<string, Float32Array>,
  tensor: (values: Float32Array, shape: number[]) => Tensor,
): void {
  for (const [name, variable] of variables) {
    const value = values.get(name);
    if (value === undefined) throw new Error(`The file has no tensor ${name}.`);
    const made = tensor(value, variable.shape);
    variable.assign(made);
    made.dispose();
  }
}
