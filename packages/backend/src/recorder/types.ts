import type { DataType } from '@tensorflow/tfjs-core';

/** Element types on the device: tfjs-core's dtypes, and those of packed weights. */
export type StorageDtype = 'float32' | 'int32' | 'bool' | 'bfloat16' | 'uint8' | 'int8';

export type TypedArray = Float32Array | Int32Array | Uint8Array;

/** Arrays that can be copied to the device: numbers, or bits of packed numbers. */
export type DeviceArray = TypedArray | Int8Array | Uint16Array;

/** Shape and dtype of a tensor. */
export interface TensorSpec {
  readonly shape: readonly number[];
  readonly dtype: DataType;
  /** Dtype on the device, if it is not `dtype`. */
  readonly storageDtype?: StorageDtype;
}

export const storageDtypes: readonly StorageDtype[] = ['float32', 'int32', 'bool', 'bfloat16', 'uint8', 'int8'];

export const bytesPerElement: Readonly<Record<StorageDtype, number>> = {
  float32: 4,
  int32: 4,
  bool: 1,
  bfloat16: 2,
  uint8: 1,
  int8: 1,
};

/** Returns whether values of a dtype can be on the device. `string` and `complex64` stay on the host. */
export function isDeviceType(dtype: DataType): dtype is 'float32' | 'int32' | 'bool' {
  return dtype === 'float32' || dtype === 'int32' || dtype === 'bool';
}

/** Returns values from the host as the array that is uploaded for a dtype. */
export function toTypedArray(values: ArrayLike<number> | ArrayLike<boolean>, type: StorageDtype): TypedArray {
  // The upload rounds to bfloat16.
  if (type === 'float32' || type === 'bfloat16')
    return values instanceof Float32Array ? values : Float32Array.from(values as ArrayLike<number>);
  if (type === 'int32') return values instanceof Int32Array ? values : Int32Array.from(values as ArrayLike<number>);
  return values instanceof Uint8Array ? values : Uint8Array.from(values as ArrayLike<number>);
}
