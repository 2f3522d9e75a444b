/** The tokens of a sample from `offset` to `offset + length`. */
export interface Segment {
  readonly sample: number;
  readonly offset: number;
  readonly length: number;
}

/** The segments of each row, in order. */
export type PackedRows = readonly (readonly Segment[])[];
