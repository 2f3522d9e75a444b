import type { Piece } from './packed-rows.js';
import { packBestFit } from './best-fit.js';

/**
 * Keys at which attention costs as much again as all other work on a token: about this many for models of 100M
 * parameters, more for larger ones. Long rows waste fewer positions and cost more attention; this weighs the two.
 */
const ATTENTION_WEIGHT = 2048;

/**
 * Puts rows of the given lengths (in tokens) into fewer, fuller rows, so that little of a batch is padding. Of the row
 * lengths that best-fit-decreasing could do with, the one whose rows cost least is taken; rows that cannot be put
 * together stay as they are.
 *
 * @returns the old rows' indices, new row by new row; each old row once
 */
export function shareRows(lengths: readonly number[]): readonly (readonly number[])[] {
  const apart = lengths.map((_, row) => [row]);
  const longest = Math.max(0, ...lengths);
  // An empty row fits nowhere and fills nothing: such a batch is left alone.
  if (lengths.length < 2 || lengths.some((length) => length === 0)) return apart;
  const pieces: readonly Piece[] = lengths.map((length, sample) => ({ sample, offset: 0, length }));
  const total = lengths.reduce((sum, length) => sum + length, 0);
  let best: readonly (readonly number[])[] = apart;
  let leastCost = costOf(apart, lengths);
  for (let count = 1; count < lengths.length; count++) {
    const capacity = Math.max(longest, Math.ceil(total / count));
    const rows = packBestFit(pieces, capacity).map((row) => row.map(({ sample }) => sample));
    const cost = costOf(rows, lengths);
    if (cost < leastCost) [best, leastCost] = [rows, cost];
  }
  return best;
}

/**
 * What a position costs beside attention, as a share of what a token costs: a model computes tokens once and padding
 * not at all, but moves tokens to the positions where attention has them, and back.
 */
const POSITION = 0.3;

/** Positions of the batch, padding included, each with the attention that rows of that length cost. */
function costOf(rows: readonly (readonly number[])[], lengths: readonly number[]): number {
  const longest = Math.max(...rows.map((row) => row.reduce((sum, member) => sum + (lengths[member] ?? 0), 0)));
  return rows.length * longest * (POSITION + longest / ATTENTION_WEIGHT);
}
