import { createRandom, permutation, shuffle } from '@whetstone/core/random';

/**
 * How the rows of an epoch are assigned to batches.
 *
 * - `random`: a new random order each epoch. Most padding; each batch is a random sample of the data.
 * - `sequential`: the order of the data, the same each epoch.
 * - `group_by_length`: random groups of up to 50 batches are sorted by length, cut into batches and shuffled. Least
 *   padding, but slower learning, as a batch of short replies changes the weights as much as one of long replies.
 * - `mixed_length`: the same with groups of 4 batches, so that lengths within a batch are similar. Saves most of the
 *   padding, and every few steps cover all lengths.
 */
type SamplingStrategy = 'random' | 'sequential' | 'group_by_length' | 'mixed_length';

/** Batches per group that is sorted by length. */
const GROUP_SIZE: Readonly<Record<'group_by_length' | 'mixed_length', number>> = {
  group_by_length: 50,
  mixed_length: 4,
};

/** The rows of all batches, end to end; batch `i` is `rows[starts[i]]` up to, not including, `rows[starts[i + 1]]`. */
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

/** Shuffles the batches of a plan, including the last one, which may be smaller. */
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

function sortGroups(rows: Int32Array, lengths: ArrayLike<number>, batchSize: number, groupSize: number): void {
  // At least four groups, if possible, as in Hugging Face's sampler, so that small data is not sorted completely.
  const batches = Math.max(1, Math.min(groupSize, Math.floor(rows.length / (batchSize * 4))));
  for (let start = 0; start < rows.length; start += batches * batchSize) {
    rows.subarray(start, start + batches * batchSize).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0) || a - b);
  }
}

/** Cuts rows into batches of at most `tokensPerBatch` padded tokens. A longer row is a batch by itself. */
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
    const tokens = Math.max(longest, length) * (index - start + 1);
    if (index > start && tokens > tokensPerBatch) {
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

/** Plans batches with a token budget. All epochs have the same batches, in different order, and so the same number. */
function planByTokens(lengths: ArrayLike<number>, budget: number, options: OrderOptions, epoch: number): EpochPlan {
  const { samplingStrategy, seed } = options;
  const multiple = options.padToMultipleOf ?? 1;
  if (samplingStrategy === 'sequential') return cutByTokens(inOrder(lengths.length), lengths, budget, multiple);
  const rows = permutation(lengths.length, createRandom(seed, 'rows'));
  if (samplingStrategy !== 'random') {
    const mean = rows.reduce((sum, row) => sum + (lengths[row] ?? 0), 0) / Math.max(1, rows.length);
    sortGroups(rows, lengths, Math.max(1, Math.round(budget / Math.max(1, mean))), GROUP_SIZE[samplingStrategy]);
  }
  return shuffleBatches(cutByTokens(rows, lengths, budget, multiple), createRandom(seed, 'batches', epoch));
}

/**
 * Plans the batches of an epoch. The plan is deterministic on all platforms. All epochs have the same number of
 * batches.
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
  sortGroups(rows, lengths, batchSize, GROUP_SIZE[samplingStrategy]);
  return shuffleBatches(cut(rows, batchSize), createRandom(seed, 'batches', epoch));
}

/** Returns the order of the samples before they are packed or batched. */
export function datasetOrder(samples: Int32Array, shuffled: boolean, seed: number): Int32Array {
  return shuffled ? shuffle(Int32Array.from(samples), createRandom(seed, 'dataset')) : samples;
}

/** Batches per group within which a curriculum is shuffled. */
const CURRICULUM_GROUP_SIZE = 4;

/** Plans an epoch from easy to hard: rows are sorted by difficulty and shuffled within groups of a few batches. */
export function planCurriculum(
  difficulties: ArrayLike<number>,
  { batchSize, seed }: OrderOptions,
  epoch: number,
): EpochPlan {
  const random = createRandom(seed, 'curriculum', epoch);
  const rows = permutation(difficulties.length, random).sort((a, b) => (difficulties[a] ?? 0) - (difficulties[b] ?? 0));
  for (let start = 0; start < rows.length; start += batchSize * CURRICULUM_GROUP_SIZE)
    shuffle(rows.subarray(start, start + batchSize * CURRICULUM_GROUP_SIZE), random);
  return cut(rows, batchSize);
}
