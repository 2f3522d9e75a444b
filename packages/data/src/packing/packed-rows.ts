/** The tokens `offset` up to `offset + length` of a sample. */
export interface Piece {
  readonly sample: number;
  readonly offset: number;
  readonly length: number;
}

/** The pieces of each row, in their order. */
export type PackedRows = readonly (readonly Piece[])[];
