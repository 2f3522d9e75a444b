import { createRandom, permutation, shuffle } from '@whetstone/core/random';

/**
 * How the rows of an epoch are put into batches.
 *
 * - `random`: a new random order each epoch. Batches waste the most on padding, and each is a fair sample of the data.
 * - `sequential`: the order of the data, the same each epoch.
 * - `group_by_length`: random stretches of up to 50 batches are sorted by length and cut into batches, which come in
 *   random order. Hardly any padding; but batches of one length teach worse, as a batch of short replies moves the
 *   weights as far as one of long ones.
 * - `mixed_length`: the same with stretches of 4 batches: lengths within a batch are similar, not equal. Saves most of
 *   the padding, and every few steps cover the whole range of lengths.
 */
type SamplingStrategy = 'random' | 'sequential' | 'group_by_length' | 'mixed_length';

/** Batches of a stretch that is sorted by length. */
const STRETCH: Readonly<Record<'group_by_length' | 'mixed_length', number>> = { group_by_length: 50, mixed_length: 4 };

/** Rows of all batches one after the other; batch `i` holds `rows[starts[i]]` up to `rows[starts[i + 1]]`. */
export interface EpochPlan {
  readonly rows: Int32Array;
  readonly starts: Int32Array;
}

const inOrder = (count: number): Int32Array => Int32Array.from({ length: count }, (_, index) => index);

/** Cuts rows into batches of `batchSize`; the last may be smaller. */
function cut(rows: Int32Array, batchSize: number): EpochPlan {
  const batches = Math.ceil(rows.length / batchSize);
  const starts = Int32Array.from({ length: batches + 1 }, (_, index) => Math.min(index * batchSize, rows.length));
  return { rows, starts };
}

/**
 * Puts the batches of a plan into random order. The last batch, which may be smaller, keeps its size and moves like the
 * others.
 */
function shuffleBatches(plan: EpochPlan, random: ReturnType<typeof createRandom>): EpochPlan {
  const order = permutation(plan.starts.length - 1, random);
  const rows = new Int32Array(plan.rows.length);
  const starts = new Int32Array(plan.starts.length);
  let position = 0;
  order.forEach((batch, index) => {
    const members = plan.rows.subarray(plan.starts[batch], plan.starts[batch + 1]);
    starts[index] = position;
    rows.set(members, position);
    position += members.length;
  });
  starts[order.length] = position;
  return { rows, starts };
}

function sortStretches(rows: Int32Array, lengths: ArrayLike<number>, batchSize: number, stretch: number): void {
  // As many stretches as there are whole ones, but at least four where the data allows, as Hugging Face's sampler does:
  // small data stays mixed.
  const batches = Math.max(1, Math.min(stretch, Math.floor(rows.length / (batchSize * 4))));
  for (let start = 0; start < rows.length; start += batches * batchSize) {
    rows.subarray(start, start + batches * batchSize).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0) || a - b);
  }
}

/**
 * Cuts rows into batches whose padded tokens stay within a budget; a row that exceeds it alone is a batch of its own.
 */
function cutByTokens(
  rows: Int32Array,
  lengths: ArrayLike<number>,
  tokensPerBatch: number,
  padToMultipleOf: number,
): EpochPlan {
  const starts = [0];
  let longest = 0;
  rows.forEach((row, index) => {
    const length = Math.ceil((lengths[row] ?? 0) / padToMultipleOf) * padToMultipleOf;
    const start = starts.at(-1) ?? 0;
    const together = Math.max(longest, length) * (index - start + 1);
    if (index > start && together > tokensPerBatch) {
      starts.push(index);
      longest = length;
    } else {
      longest = Math.max(longest, length);
    }
  });
  return { rows, starts: Int32Array.from(rows.length > 0 ? [...starts, rows.length] : starts) };
}

export interface OrderOptions {
  readonly batchSize: number;
  readonly samplingStrategy: SamplingStrategy;
  readonly seed: number;
  readonly tokensPerBatch?: number | null;
  readonly padToMultipleOf?: number | null;
}

/** Batches under a token budget: made once, so that every epoch has as many; only their order differs. */
function planByTokens(lengths: ArrayLike<number>, budget: number, options: OrderOptions, epoch: number): EpochPlan {
  const { samplingStrategy, seed } = options;
  const multiple = options.padToMultipleOf ?? 1;
  if (samplingStrategy === 'sequential') return cutByTokens(inOrder(lengths.length), lengths, budget, multiple);
  const rows = permutation(lengths.length, createRandom(seed, 'rows'));
  if (samplingStrategy !== 'random') {
    const mean = rows.reduce((sum, row) => sum + (lengths[row] ?? 0), 0) / Math.max(1, rows.length);
    sortStretches(rows, lengths, Math.max(1, Math.round(budget / Math.max(1, mean))), STRETCH[samplingStrategy]);
  }
  return shuffleBatches(cutByTokens(rows, lengths, budget, multiple), createRandom(seed, 'batches', epoch));
}

/**
 * The batches of one epoch. The same arguments give the same plan, on every platform; other epochs give other orders,
 * of the same number of batches.
 *
 * @param lengths tokens of each row
 */
export function planEpoch(lengths: ArrayLike<number>, options: OrderOptions, epoch: number): EpochPlan {
  const { batchSize, samplingStrategy, seed, tokensPerBatch } = options;
  if (tokensPerBatch !== undefined && tokensPerBatch !== null)
    return planByTokens(lengths, tokensPerBatch, options, epoch);
  if (samplingStrategy === 'sequential') return cut(inOrder(lengths.length), batchSize);
  const rows = permutation(lengths.length, createRandom(seed, 'rows', epoch));
  if (samplingStrategy === 'random') return cut(rows, batchSize);
  sortStretches(rows, lengths, batchSize, STRETCH[samplingStrategy]);
  return shuffleBatches(cut(rows, batchSize), createRandom(seed, 'batches', epoch));
}

/** The order of the samples before batches are made of them. */
export function datasetOrder(samples: Int32Array, shuffled: boolean, seed: number): Int32Array {
  return shuffled ? shuffle(Int32Array.from(samples), createRandom(seed, 'dataset')) : samples;
}

/** Batches of a stretch within which a curriculum is shuffled. */
const CURRICULUM_STRETCH = 4;

/**
 * An epoch from easy to hard: rows by difficulty, shuffled within stretches of a few batches, so that neighbours are
 * alike in difficulty but come in no fixed order.
 */
export function planCurriculum(
  difficulties: ArrayLike<number>,
  { batchSize, seed }: OrderOptions,
  epoch: number,
): EpochPlan {
  const random = createRandom(seed, 'curriculum', epoch);
  const rows = permutation(difficulties.length, random).sort((a, b) => (difficulties[a] ?? 0) - (difficulties[b] ?? 0));
  for (let start = 0; start < rows.length; start += batchSize * CURRICULUM_STRETCH)
    shuffle(rows.subarray(start, start + batchSize * CURRICULUM_STRETCH), random);
  return cut(rows, batchSize);
}
