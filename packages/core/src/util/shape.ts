import { isRecord } from './records.js';

/** Returns the number of elements of a tensor with this shape: 1 for a scalar. */
export function sizeOfShape(shape: readonly number[]): number {
  let size = 1;
  for (let axis = 0; axis < shape.length; axis++) size *= shape[axis] ?? 0;
  return size;
}

/** Returns whether two shapes are equal. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let axis = 0; axis < a.length; axis++) if (a[axis] !== b[axis]) return false;
  return true;
}

/** What tells a tensor of tfjs-core from other values; a plugin may bring another copy of its class. */
interface TensorLike {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly isDisposed: boolean;
}

/** Returns whether a value is a tensor of tfjs-core. */
export const isTensorLike = (value: unknown): value is TensorLike =>
  isRecord(value) && Array.isArray(value['shape']) && typeof value['dataSync'] === 'function';
