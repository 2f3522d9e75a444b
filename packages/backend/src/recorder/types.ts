import type { DataType } from '@tensorflow/tfjs-core';

/** How a value is stored on the device. Logical tfjs dtypes map onto these; a frozen float32 weight may be stored as bfloat16. */
export type PhysicalType = 'float32' | 'int32' | 'bool' | 'bfloat16' | 'uint8';

export type TypedArray = Float32Array | Int32Array | Uint8Array;

/** Shape and dtype of a tensor. */
export interface Spec {
  readonly shape: readonly number[];
  readonly dtype: DataType;
}

export const physicalTypes: readonly PhysicalType[] = ['float32', 'int32', 'bool', 'bfloat16', 'uint8'];

export const bytesPerElement: Readonly<Record<PhysicalType, number>> = { float32: 4, int32: 4, bool: 1, bfloat16: 2, uint8: 1 };

/** The device dtypes among tfjs's; `string` and `complex64` values stay on the host. */
export function isDeviceType(dtype: DataType): dtype is 'float32' | 'int32' | 'bool' {
  return dtype === 'float32' || dtype === 'int32' || dtype === 'bool';
}

export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (let axis = 0; axis < shape.length; axis++) size *= shape[axis] ?? 0;
  return size;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let axis = 0; axis < a.length; axis++) if (a[axis] !== b[axis]) return false;
  return true;
}

/** Host values as the array that the device dtype is made of. */
export function toTypedArray(values: ArrayLike<number> | ArrayLike<boolean>, type: PhysicalType): TypedArray {
  if (type === 'float32') return values instanceof Float32Array ? values : Float32Array.from(values as ArrayLike<number>);
  if (type === 'int32') return values instanceof Int32Array ? values : Int32Array.from(values as ArrayLike<number>);
  return values instanceof Uint8Array ? values : Uint8Array.from(values as ArrayLike<number>);
}
