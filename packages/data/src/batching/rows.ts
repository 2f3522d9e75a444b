/**
 * What each row of a batch is made of: pieces of samples, end to end. Row `r` holds pieces `starts[r]` up to `starts[r + 1]`; piece `p` is the tokens
 * `offset[p]` up to `offset[p] + length[p]` of sample `sample[p]`.
 */
export interface RowTable {
  readonly starts: Int32Array;
  readonly sample: Int32Array;
  readonly offset: Int32Array;
  readonly length: Int32Array;
}

export const rowCount = (table: RowTable): number => table.starts.length - 1;

/** Tokens of each row. */
export function rowLengths(table: RowTable): Int32Array {
  return Int32Array.from({ length: rowCount(table) }, (_, row) => {
    let tokens = 0;
    for (let piece = table.starts[row] ?? 0; piece < (table.starts[row + 1] ?? 0); piece++) tokens += table.length[piece] ?? 0;
    return tokens;
  });
}

/** One whole sample a row, in the order given. */
export function oneSampleARow(order: Int32Array, lengthOf: (sample: number) => number): RowTable {
  return {
    starts: Int32Array.from({ length: order.length + 1 }, (_, index) => index),
    sample: order,
    offset: new Int32Array(order.length),
    length: order.map((sample) => lengthOf(sample)),
  };
}
