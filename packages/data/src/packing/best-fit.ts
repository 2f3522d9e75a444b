import { GrowingInts } from '../batching/growing-ints.js';
import type { Piece, PackedRows } from './pack.js';

/** Bins that have the same space left wait in one queue, first in, first out. A bitmap over the spaces finds the smallest that is large enough. */
class SpaceQueues {
  readonly #bits: Int32Array;
  readonly #head: Int32Array;
  readonly #tail: Int32Array;
  readonly #next = new GrowingInts();

  constructor(capacity: number) {
    this.#bits = new Int32Array((capacity >> 5) + 1);
    this.#head = new Int32Array(capacity + 1).fill(-1);
    this.#tail = new Int32Array(capacity + 1).fill(-1);
  }

  /** The smallest space that holds `needed`, or -1. */
  smallest(needed: number): number {
    let word = needed >> 5;
    let bits = (this.#bits[word] ?? 0) & (-1 << (needed & 31));
    while (bits === 0 && ++word < this.#bits.length) bits = this.#bits[word] ?? 0;
    // The lowest set bit: what is left of a number and its negative.
    return bits === 0 ? -1 : word * 32 + (31 - Math.clz32(bits & -bits));
  }

  push(space: number, bin: number): void {
    while (this.#next.length <= bin) this.#next.push(-1);
    this.#next.set(bin, -1);
    const last = this.#tail[space] ?? -1;
    if (last === -1) {
      this.#head[space] = bin;
      this.#bits[space >> 5] = (this.#bits[space >> 5] ?? 0) | (1 << (space & 31));
    } else {
      this.#next.set(last, bin);
    }
    this.#tail[space] = bin;
  }

  shift(space: number): number {
    const bin = this.#head[space] ?? -1;
    const next = this.#next.at(bin);
    this.#head[space] = next;
    if (next === -1) {
      this.#tail[space] = -1;
      this.#bits[space >> 5] = (this.#bits[space >> 5] ?? 0) & ~(1 << (space & 31));
    }
    return bin;
  }
}

/**
 * Best-fit-decreasing bin packing: pieces from the longest to the shortest (equal ones in their order), each into the bin that it fills best, the one
 * that has waited longest among equals; a new bin where none has room. Bins come in the order in which they were opened.
 * (Ding et al., "Fewer Truncations Improve Language Modeling", 2024; the bins are those of TRL's `bfd`.)
 *
 * @param pieces none longer than `capacity`, none empty
 */
export function packBestFit(pieces: readonly Piece[], capacity: number): PackedRows {
  const order = pieces.map((_, index) => index).sort((a, b) => (pieces[b]?.length ?? 0) - (pieces[a]?.length ?? 0) || a - b);
  const queues = new SpaceQueues(capacity);
  const rows: Piece[][] = [];
  for (const index of order) {
    const piece = pieces[index] as Piece;
    const space = queues.smallest(piece.length);
    const bin = space === -1 ? rows.push([]) - 1 : queues.shift(space);
    (rows[bin] as Piece[]).push(piece);
    const left = (space === -1 ? capacity : space) - piece.length;
    if (left > 0) queues.push(left, bin);
  }
  return rows;
}
