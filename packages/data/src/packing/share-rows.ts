import type { Segment } from './packed-rows.js';
import { packBestFit } from './best-fit.js';

/**
 * The row length at which attention costs as much as all other work on a token: about 2048 for models of 100M
 * parameters, more for larger ones. Longer rows waste fewer positions but cost more attention.
 */
const ATTENTION_WEIGHT = 2048;

/**
 * Combines rows of a batch into fewer, fuller rows to reduce padding. Packs them with best-fit-decreasing at several
 * row lengths and returns the cheapest result. Rows stay separate if combining them is not cheaper.
 *
 * @param lengths tokens of each row
 * @returns for each new row, the indices of the old rows in it; each old row occurs once
 */
export function shareRows(lengths: readonly number[]): readonly (readonly number[])[] {
  const apart = lengths.map((_, row) => [row]);
  const longest = Math.max(0, ...lengths);
  // Best-fit-decreasing does not accept empty rows.
  if (lengths.length < 2 || lengths.some((length) => length === 0)) return apart;
  const segments: readonly Segment[] = lengths.map((length, sample) => ({ sample, offset: 0, length }));
  const total = lengths.reduce((sum, length) => sum + length, 0);
  let best: readonly (readonly number[])[] = apart;
  let leastCost = costOf(apart, lengths);
  for (let count = 1; count < lengths.length; count++) {
    const capacity = Math.max(longest, Math.ceil(total / count));
    const rows = packBestFit(segments, capacity).map((row) => row.map(({ sample }) => sample));
    const cost = costOf(rows, lengths);
    if (cost < leastCost) [best, leastCost] = [rows, cost];
  }
  return best;
}

/**
 * The cost of a position apart from attention, relative to a token. Padding is not computed, but tokens are moved to
 * padded positions for attention, and back.
 */
const POSITION = 0.3;

/** Returns the cost of a batch: its positions, including padding, times the cost of each at this row length. */
function costOf(rows: readonly (readonly number[])[], lengths: readonly number[]): number {
  const longest = Math.max(...rows.map((row) => row.reduce((sum, member) => sum + (lengths[member] ?? 0), 0)));
  return rows.length * longest * (POSITION + longest / ATTENTION_WEIGHT);
}
