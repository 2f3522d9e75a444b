import { WhetstoneError, type Batch, type SavedState } from '@whetstone/core/contract';
import type { Random } from '@whetstone/core/random';
import { bufferWithoutKeys, type ReplayBuffer } from './buffer.js';
import { fromPlainRow, plainRow, withSamples, type PlainRow, type ReplayRow } from './rows.js';

/** The share of replayed data in all data, and its unit. */
export interface ReplayShare {
  readonly ratio: number;
  readonly unit: 'sample' | 'token';
}

/** The values of a checkpoint. */
interface SavedReplay {
  readonly count: number;
  /** Number of rows that were offered to the buffer file. */
  readonly offered: number;
  /** The rows; null if the run reads them again from its data. */
  readonly rows: readonly PlainRow[] | null;
  /** The keys of the rows, and the threshold, in the reservoir; absent in checkpoints of older versions. */
  readonly keys?: readonly number[] | null;
  readonly threshold?: number;
  /** Cumulative sums of the weights; null if all weights are equal. */
  readonly weights: readonly number[] | null;
}

/** The rows that a run replays, each drawn with probability proportional to its weight. */
export class ReplayedRows {
  /** Cumulative sums of the weights. */
  private sums: Float64Array;
  /** The expected number of tokens of a drawn row. */
  private meanTokens: number;

  /**
   * @param buffer the reservoir to which the rows of this run are offered
   * @param weights one per row; null if all rows have the same weight
   */
  constructor(
    public buffer: ReplayBuffer,
    private readonly weights: Float64Array | null,
  ) {
    this.sums = cumulativeSums(weights ?? equalWeights(buffer.rows.length));
    this.meanTokens = meanTokens(buffer.rows, this.sums);
  }

  /** Returns the batch with drawn rows. Their expected number makes up the configured share of the result. */
  mixInto(batch: Batch, { ratio, unit }: ReplayShare, random: Random): Batch {
    const { rows } = this.buffer;
    if (rows.length === 0) return batch;
    const share = ratio / (1 - ratio);
    const expected = unit === 'sample' ? share * batch.samples : (share * batch.tokens) / this.meanTokens;
    const count = Math.floor(expected + random.uniform());
    const drawn = Array.from({ length: count }, () => rows[drawByWeight(this.sums, random.uniform())]);
    return withSamples(
      batch,
      drawn.filter((row) => row !== undefined),
    );
  }

  /** @param storesRows whether the rows are stored, because a resumed run could not read them again */
  saveState(storesRows: boolean): SavedState {
    const { rows, keys, threshold, offered } = this.buffer;
    return {
      tensors: new Map(),
      values: {
        count: rows.length,
        offered,
        rows: storesRows ? rows.map(plainRow) : null,
        keys: storesRows ? keys : null,
        threshold,
        weights: this.weights === null ? null : [...this.sums],
      },
    };
  }

  /** @throws `CHECKPOINT_INVALID` if the checkpoint belongs to another number of rows */
  loadState({ values }: SavedState): void {
    const saved = values as unknown as SavedReplay;
    if (saved.rows !== null) this.buffer = bufferOf(saved, saved.rows.map(fromPlainRow));
    const { rows } = this.buffer;
    if (saved.count !== rows.length)
      throw new WhetstoneError('CHECKPOINT_INVALID', 'The data to replay has changed since the checkpoint.', {
        expected: `${saved.count} rows`,
        found: `${rows.length} rows`,
      });
    if (saved.weights !== null) this.sums = Float64Array.from(saved.weights);
    else if (saved.rows !== null) this.sums = cumulativeSums(equalWeights(rows.length));
    this.meanTokens = meanTokens(rows, this.sums);
  }
}

const bufferOf = ({ keys, threshold, offered }: SavedReplay, rows: readonly ReplayRow[]): ReplayBuffer =>
  keys === undefined || keys === null || threshold === undefined
    ? bufferWithoutKeys(rows, offered)
    : { rows, keys, threshold, offered };

/** Returns the expected number of tokens of a row that is drawn by its weight. `sums` are the cumulative weights. */
function meanTokens(rows: readonly ReplayRow[], sums: Float64Array): number {
  const total = sums.at(-1) ?? 0;
  const tokens = rows.reduce((sum, { ids }, index) => {
    const weight = (sums[index] ?? 0) - (sums[index - 1] ?? 0);
    return sum + weight * ids.length;
  }, 0);
  return total > 0 ? tokens / total : (rows.at(-1)?.ids.length ?? 1);
}

const equalWeights = (count: number): Float64Array => new Float64Array(count).fill(1);

function cumulativeSums(weights: Float64Array): Float64Array {
  let sum = 0;
  return weights.map((weight) => (sum += weight));
}

/** Draws an index with probability proportional to its weight. `sums` are the cumulative sums of the weights. */
function drawByWeight(sums: Float64Array, uniform: number): number {
  const threshold = uniform * (sums.at(-1) ?? 0);
  let [low, high] = [0, sums.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sums[middle] ?? 0) > threshold) high = middle;
    else low = middle + 1;
  }
  return low;
}
