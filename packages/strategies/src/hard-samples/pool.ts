import type { Random } from '@whetstone/core/random';
import type { ReplayRow } from '../replay/rows.js';

/** A sample that may be shown again: a conversation, or a piece of one where rows are cut. */
export interface PooledSample {
  readonly row: ReplayRow;
  /** Mean loss of its targets when it was last measured; null before. */
  readonly loss: number | null;
  /** Times that it was shown again since then. */
  readonly repeats: number;
}

const keyOf = ({ ids, labels }: ReplayRow): string => `${ids.join()}|${labels.join()}`;

/**
 * Offers samples to a pool of at most `size`: a uniform sample of all that were offered, each once (Vitter's algorithm
 * R).
 */
export function offerSamples(
  pool: readonly PooledSample[],
  rows: readonly ReplayRow[],
  size: number,
  offered: number,
  random: Random,
): { readonly pool: readonly PooledSample[]; readonly offered: number } {
  const kept = [...pool];
  const known = new Set(kept.map(({ row }) => keyOf(row)));
  let seen = offered;
  for (const row of rows) {
    if (known.has(keyOf(row))) continue;
    seen += 1;
    const place = kept.length < size ? kept.length : random.integer(seen);
    if (place >= size) continue;
    kept[place] = { row, loss: null, repeats: 0 };
    known.add(keyOf(row));
  }
  return { pool: kept, offered: seen };
}

export interface DrawLimits {
  /** A sample's chance is at most this many times the mean one. */
  readonly maxWeight: number;
  /** Share of the samples with the greatest losses that is left out: labels that are wrong are hard, too. */
  readonly ignoreHardest: number;
  /** Times that a sample is shown again at most between two measurements. */
  readonly maxRepeats: number;
}

/**
 * The chance of each sample to be drawn, not normalised: its loss over the mean loss, bounded; 0 where it is not to be
 * shown.
 */
export function drawWeights(
  pool: readonly PooledSample[],
  { maxWeight, ignoreHardest, maxRepeats }: DrawLimits,
): number[] {
  const losses = pool.flatMap(({ loss }) => (loss === null ? [] : [loss])).sort((a, b) => a - b);
  if (losses.length === 0) return pool.map(() => 0);
  const kept = losses.slice(0, Math.max(1, losses.length - Math.floor(ignoreHardest * losses.length)));
  const most = kept.at(-1) ?? 0;
  const mean = kept.reduce((sum, loss) => sum + loss, 0) / kept.length;
  return pool.map(({ loss, repeats }) =>
    loss === null || loss > most || repeats >= maxRepeats || mean <= 0 ? 0 : Math.min(maxWeight, loss / mean),
  );
}

/**
 * Draws up to `count` samples by their weights, never one beyond its repeats. Gives the drawn rows and the pool that
 * remembers them.
 */
export function drawSamples(
  pool: readonly PooledSample[],
  count: number,
  limits: DrawLimits,
  random: Random,
): { readonly rows: readonly ReplayRow[]; readonly pool: readonly PooledSample[] } {
  let current = pool;
  const rows: ReplayRow[] = [];
  for (let drawn = 0; drawn < count; drawn += 1) {
    const weights = drawWeights(current, limits);
    let left = random.uniform() * weights.reduce((sum, weight) => sum + weight, 0);
    const chosen = weights.findIndex((weight) => weight > 0 && (left -= weight) < 0);
    const sample = current[chosen];
    if (sample === undefined) break;
    rows.push(sample.row);
    current = current.map((each, index) => (index === chosen ? { ...each, repeats: each.repeats + 1 } : each));
  }
  return { rows, pool: current };
}
