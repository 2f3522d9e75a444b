import { createHash } from 'node:crypto';
import type { Random } from '@whetstone/core/random';
import type { ReplayRow } from '../replay/rows.js';
import type { HardSamplesOptions } from './options.js';

/** A sample that may be repeated: a conversation, or a segment of one if rows are split. */
export interface PooledSample {
  readonly row: ReplayRow;
  /** A random number in [0, 1) that depends on the seed and the contents of the sample only. */
  readonly key: number;
  /** Mean loss of its target tokens at the last measurement; null before the first. */
  readonly loss: number | null;
  /** Number of repetitions since then. */
  readonly repeats: number;
}

/** Returns the key of a sample: every seed orders all samples at random. */
export function keyOf({ ids, labels }: ReplayRow, seed: number): number {
  const bytes = createHash('sha256').update(`${seed}|${ids.join()}|${labels.join()}`).digest();
  return bytes.readUIntBE(0, 6) / 2 ** 48;
}

/**
 * Offers samples to a pool of at most `size`. The pool is a uniform random sample of all distinct samples that were
 * offered: those with the smallest keys. A sample that is offered again, as in the next epoch, changes nothing.
 */
export function offerSamples(
  pool: readonly PooledSample[],
  rows: readonly ReplayRow[],
  size: number,
  seed: number,
): readonly PooledSample[] {
  const kept = [...pool];
  const known = new Set(kept.map(({ key }) => key));
  for (const row of rows) {
    const key = keyOf(row, seed);
    if (known.has(key)) continue;
    const position = kept.length < size ? kept.length : indexOfLargest(kept);
    const replaced = kept[position];
    if (replaced !== undefined && replaced.key < key) continue;
    if (replaced !== undefined) known.delete(replaced.key);
    kept[position] = { row, key, loss: null, repeats: 0 };
    known.add(key);
  }
  return kept;
}

const indexOfLargest = (pool: readonly PooledSample[]): number =>
  pool.reduce((largest, { key }, index) => (key > (pool[largest]?.key ?? -1) ? index : largest), 0);

export type DrawLimits = Pick<HardSamplesOptions, 'maxWeight' | 'maxRepeats' | 'ignoreHardest'>;

/**
 * Returns the unnormalised probability of each sample: its loss relative to the mean loss, at most `maxWeight`; 0 if it
 * is excluded.
 */
export function drawWeights(
  pool: readonly PooledSample[],
  { maxWeight, ignoreHardest, maxRepeats }: DrawLimits,
): number[] {
  const losses = pool.flatMap(({ loss }) => (loss === null ? [] : [loss])).sort((a, b) => a - b);
  if (losses.length === 0) return pool.map(() => 0);
  const kept = losses.slice(0, Math.max(1, losses.length - Math.floor(ignoreHardest * losses.length)));
  const maxLoss = kept.at(-1) ?? 0;
  const mean = kept.reduce((sum, loss) => sum + loss, 0) / kept.length;
  return pool.map(({ loss, repeats }) =>
    loss === null || loss > maxLoss || repeats >= maxRepeats || mean <= 0 ? 0 : Math.min(maxWeight, loss / mean),
  );
}

/**
 * Draws up to `count` samples by their weights, none more often than `maxRepeats`. Returns the drawn rows and the pool
 * with updated numbers of repetitions.
 */
export function drawSamples(
  pool: readonly PooledSample[],
  count: number,
  limits: DrawLimits,
  random: Random,
): { readonly rows: readonly ReplayRow[]; readonly pool: readonly PooledSample[] } {
  let current = pool;
  const rows: ReplayRow[] = [];
  for (let drawn = 0; drawn < count; drawn++) {
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
