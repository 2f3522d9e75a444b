import { GrowingInts } from '../batching/growing-ints.js';
import type { PackedRows, Piece } from './packed-rows.js';

/**
 * Bins that have the same space left wait in one queue, first in, first out. A bitmap over the spaces finds the
 * smallest that is large enough.
 */
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
 * Which bin each piece is in, and in which order the pieces were put in: within a bin they stand in that order, too.
 */
export interface BinAssignment {
  readonly bins: number;
  readonly binOf: Int32Array;
  readonly order: Int32Array;
}

/**
 * Indices from the longest to the shortest, equal ones in their order: sorted by counting, as lengths are small whole
 * numbers.
 */
function longestFirst(lengths: Int32Array, capacity: number): Int32Array {
  const places = new Int32Array(capacity + 2);
  for (const length of lengths) places[capacity - length + 1] = (places[capacity - length + 1] ?? 0) + 1;
  for (let index = 1; index < places.length; index++) places[index] = (places[index] ?? 0) + (places[index - 1] ?? 0);
  const order = new Int32Array(lengths.length);
  for (const [index, length] of lengths.entries()) {
    const place = places[capacity - length] ?? 0;
    order[place] = index;
    places[capacity - length] = place + 1;
  }
  return order;
}

/**
 * Best-fit-decreasing bin packing: pieces from the longest to the shortest (equal ones in their order), each into the
 * bin that it fills best, the one that has waited longest among equals; a new bin where none has room. Bins count in
 * the order in which they were opened. 12 bytes a piece. (Ding et al., "Fewer Truncations Improve Language Modeling",
 * 2024; the bins are those of TRL's `bfd`.)
 *
 * @param lengths none longer than `capacity`, none 0
 */
export function assignBestFit(lengths: Int32Array, capacity: number): BinAssignment {
  const order = longestFirst(lengths, capacity);
  const queues = new SpaceQueues(capacity);
  const binOf = new Int32Array(lengths.length);
  let bins = 0;
  for (const index of order) {
    const length = lengths[index] ?? 0;
    const space = queues.smallest(length);
    const bin = space === -1 ? bins++ : queues.shift(space);
    binOf[index] = bin;
    const left = (space === -1 ? capacity : space) - length;
    if (left > 0) queues.push(left, bin);
  }
  return { bins, binOf, order };
}

/**
 * The pieces of each bin of {@link assignBestFit}.
 *
 * @param pieces none longer than `capacity`, none empty
 */
export function packBestFit(pieces: readonly Piece[], capacity: number): PackedRows {
  const { bins, binOf, order } = assignBestFit(
    Int32Array.from(pieces, ({ length }) => length),
    capacity,
  );
  const rows: Piece[][] = Array.from({ length: bins }, () => []);
  for (const index of order) rows[binOf[index] ?? 0]?.push(pieces[index] as Piece);
  return rows;
}
