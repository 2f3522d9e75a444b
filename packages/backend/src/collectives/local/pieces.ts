/** Numbers in several pieces of memory, in order, as one vector. */
export type Pieces = readonly Float32Array[];

export const lengthOf = (pieces: Pieces): number => pieces.reduce((sum, { length }) => sum + length, 0);

/** Returns the numbers from one position of the vector to another. They are views, not copies. */
export function slicePieces(pieces: Pieces, from: number, to: number): Float32Array[] {
  const slices: Float32Array[] = [];
  let start = 0;
  for (const piece of pieces) {
    const end = start + piece.length;
    if (end > from && start < to) slices.push(piece.subarray(Math.max(from - start, 0), Math.min(to, end) - start));
    start = end;
  }
  return slices;
}

export const bytesOf = (numbers: Float32Array): Uint8Array =>
  new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);

/** Returns a function that writes the parts of a byte stream into pieces, one after another. */
export function writeInto(pieces: Pieces): (part: Uint8Array) => void {
  const targets = pieces.map(bytesOf);
  let index = 0;
  let offset = 0;
  return (part) => {
    for (let written = 0; written < part.length;) {
      const target = targets[index];
      if (target === undefined) throw new RangeError('More bytes arrived than the pieces hold.');
      const bytes = Math.min(target.length - offset, part.length - written);
      target.set(part.subarray(written, written + bytes), offset);
      written += bytes;
      offset += bytes;
      if (offset < target.length) continue;
      index++;
      offset = 0;
    }
  };
}
