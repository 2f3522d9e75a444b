import type { StorageDtype } from '../../recorder/types.js';

/** TF_DataType of each storage dtype. */
export const tensorflowType: Readonly<Record<StorageDtype, number>> = {
  float32: 1,
  int32: 3,
  bool: 10,
  bfloat16: 14,
  uint8: 4,
  int8: 6,
};

/** TF_DataType of a variable's handle. */
export const RESOURCE = 20;

const emptyDims = new BigInt64Array(1);

/** Returns a shape in the form that the C API takes. */
export function dimensions(shape: readonly number[]): BigInt64Array {
  return shape.length === 0 ? emptyDims : BigInt64Array.from(shape, BigInt);
}
