import type { DataType } from '@tensorflow/tfjs-core';

/**
 * Element types on the device. tfjs's dtypes map onto the first three; the others are what packed weights consist of.
 */
export type PhysicalType = 'float32' | 'int32' | 'bool' | 'bfloat16' | 'uint8' | 'int8';

export type TypedArray = Float32Array | Int32Array | Uint8Array;

/** What can be copied to the device: numbers, or packed ones as their bits. */
export type DeviceArray = TypedArray | Int8Array | Uint16Array;

/** Shape and dtype of a tensor. */
export interface Spec {
  readonly shape: readonly number[];
  readonly dtype: DataType;
  /** How it is stored, where that is not its dtype. */
  readonly physical?: PhysicalType;
}

export const physicalTypes: readonly PhysicalType[] = ['float32', 'int32', 'bool', 'bfloat16', 'uint8', 'int8'];

export const bytesPerElement: Readonly<Record<PhysicalType, number>> = {
  float32: 4,
  int32: 4,
  bool: 1,
  bfloat16: 2,
  uint8: 1,
  int8: 1,
};

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
  // Numbers for bfloat16 are rounded on their way to the device.
  if (type === 'float32' || type === 'bfloat16')
    return values instanceof Float32Array ? values : Float32Array.from(values as ArrayLike<number>);
  if (type === 'int32') return values instanceof Int32Array ? values : Int32Array.from(values as ArrayLike<number>);
  return values instanceof Uint8Array ? values : Uint8Array.from(values as ArrayLike<number>);
}
