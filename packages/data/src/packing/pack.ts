import { packBestFit } from './best-fit.js';
import type { PackedRows, Piece } from './packed-rows.js';

/**
 * How samples are put into rows of `maxLength` tokens.
 *
 * - `bfd`: best fit decreasing; a sample is never split, and one that is too long was cut before.
 * - `bfd_split`: the same, after samples that are too long were split into pieces.
 * - `wrapped`: samples end to end, cut wherever a row is full. The tightest, and the one that tears most conversations
 *   apart.
 *
 * Rows are those of TRL's strategies of the same names. In all of them a sample never attends to another one, also in
 * `wrapped`, where TRL lets it.
 */
export type PackingStrategy = 'bfd' | 'bfd_split' | 'wrapped';

/** Cuts a sample into pieces of at most `capacity` tokens; the last may be shorter. */
function split(sample: number, length: number, capacity: number): Piece[] {
  const pieces = Array.from({ length: Math.ceil(length / capacity) });
  return pieces.map((_, index) => ({
    sample,
    offset: index * capacity,
    length: Math.min(capacity, length - index * capacity),
  }));
}

function wrap(lengths: readonly { readonly sample: number; readonly length: number }[], capacity: number): PackedRows {
  const rows: Piece[][] = [];
  let room = 0;
  for (const { sample, length } of lengths) {
    for (let offset = 0; offset < length;) {
      if (room === 0) {
        rows.push([]);
        room = capacity;
      }
      const taken = Math.min(room, length - offset);
      (rows.at(-1) as Piece[]).push({ sample, offset, length: taken });
      offset += taken;
      room -= taken;
    }
  }
  return rows;
}

/**
 * Packs samples into rows of at most `capacity` tokens. Empty samples are left out.
 *
 * @param samples the samples in their order, with the tokens of each
 */
export function pack(
  samples: readonly { readonly sample: number; readonly length: number }[],
  capacity: number,
  strategy: PackingStrategy,
): PackedRows {
  const full = samples.filter(({ length }) => length > 0);
  switch (strategy) {
    case 'bfd':
      return packBestFit(
        full.map(({ sample, length }) => ({ sample, offset: 0, length: Math.min(length, capacity) })),
        capacity,
      );
    case 'bfd_split':
      return packBestFit(
        full.flatMap(({ sample, length }) => split(sample, length, capacity)),
        capacity,
      );
    case 'wrapped':
      return wrap(full, capacity);
  }
}
