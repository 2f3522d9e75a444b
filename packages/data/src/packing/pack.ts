import { packBestFit } from './best-fit.js';
import type { PackedRows, Segment } from './packed-rows.js';

/**
 * How samples are assigned to rows of `maxLength` tokens.
 *
 * - `bfd`: best fit decreasing; samples are not split, and longer samples are truncated.
 * - `bfd_split`: best fit decreasing, after longer samples are split into segments.
 * - `wrapped`: samples end to end, split at the end of each row; fewest rows, but most splits.
 *
 * The rows equal those of TRL's strategies with the same names. Tokens never attend to another sample; in TRL's
 * `wrapped` they do.
 */
export type PackingStrategy = 'bfd' | 'bfd_split' | 'wrapped';

/** Splits a sample into segments of `capacity` tokens; the last may be shorter. */
function split(sample: number, length: number, capacity: number): Segment[] {
  const segments = Array.from({ length: Math.ceil(length / capacity) });
  return segments.map((_, index) => ({
    sample,
    offset: index * capacity,
    length: Math.min(capacity, length - index * capacity),
  }));
}

function wrap(lengths: readonly { readonly sample: number; readonly length: number }[], capacity: number): PackedRows {
  const rows: Segment[][] = [];
  let room = 0;
  for (const { sample, length } of lengths) {
    for (let offset = 0; offset < length;) {
      if (room === 0) {
        rows.push([]);
        room = capacity;
      }
      const taken = Math.min(room, length - offset);
      (rows.at(-1) as Segment[]).push({ sample, offset, length: taken });
      offset += taken;
      room -= taken;
    }
  }
  return rows;
}

/**
 * Packs samples into rows of at most `capacity` tokens. Empty samples are dropped.
 *
 * @param samples the samples in their order, with the number of tokens of each
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
