/** Arrays of different lengths end to end, which can be transferred between threads without a copy. */
export interface JoinedArrays {
  readonly values: Uint32Array;
  /** The end of each array in `values`. */
  readonly ends: Int32Array;
}

export function joinArrays(arrays: readonly Uint32Array[]): JoinedArrays {
  const values = new Uint32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  const ends = new Int32Array(arrays.length);
  let end = 0;
  for (const [index, array] of arrays.entries()) {
    values.set(array, end);
    end += array.length;
    ends[index] = end;
  }
  return { values, ends };
}

/** Returns array `index`, as a view. */
export const arrayAt = ({ values, ends }: JoinedArrays, index: number): Uint32Array =>
  values.subarray(index === 0 ? 0 : ends[index - 1], ends[index]);
