import { WhetstoneError, type Batch, type SavedState } from '@whetstone/core/contract';
import type { Random } from '@whetstone/core/random';
import type { ReplayBuffer } from './buffer.js';
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
  /** Cumulative sums of the weights; null if all weights are equal. */
  readonly weights: readonly number[] | null;
}

/** The rows that a run replays, each drawn with probability proportional to its weight. */
export class ReplayedRows {
  private rows: readonly ReplayRow[];
  private offered: number;
  /** Cumulative sums of the weights. */
  private sums: Float64Array;
  private readonly meanTokens: number;

  /** @param weights one per row; null if all rows have the same weight */
  constructor(
    { rows, offered }: ReplayBuffer,
    private readonly weights: Float64Array | null,
  ) {
    this.rows = rows;
    this.offered = offered;
    this.sums = cumulativeSums(weights ?? equalWeights(rows.length));
    this.meanTokens = rows.reduce((sum, { ids }) => sum + ids.length, 0) / Math.max(1, rows.length);
  }

  /** The rows as the reservoir to which the rows of this run are offered. */
  get buffer(): ReplayBuffer {
    return { rows: this.rows, offered: this.offered };
  }

  /** Returns the batch with drawn rows. Their expected number makes up the configured share of the result. */
  mixInto(batch: Batch, { ratio, unit }: ReplayShare, random: Random): Batch {
    if (this.rows.length === 0) return batch;
    const share = ratio / (1 - ratio);
    const expected = unit === 'sample' ? share * batch.samples : (share * batch.tokens) / this.meanTokens;
    const count = Math.floor(expected + random.uniform());
    const drawn = Array.from({ length: count }, () => this.rows[drawByWeight(this.sums, random.uniform())]);
    return withSamples(
      batch,
      drawn.filter((row) => row !== undefined),
    );
  }

  /** @param storesRows whether the rows are stored, because a resumed run could not read them again */
  saveState(storesRows: boolean): SavedState {
    return {
      tensors: new Map(),
      values: {
        count: this.rows.length,
        offered: this.offered,
        rows: storesRows ? this.rows.map(plainRow) : null,
        weights: this.weights === null ? null : [...this.sums],
      },
    };
  }

  /** @throws `CHECKPOINT_INVALID` if the checkpoint belongs to another number of rows */
  loadState({ values }: SavedState): void {
    const saved = values as unknown as SavedReplay;
    if (saved.rows !== null) {
      this.rows = saved.rows.map(fromPlainRow);
      this.offered = saved.offered;
      this.sums = cumulativeSums(equalWeights(this.rows.length));
    }
    if (saved.count !== this.rows.length)
      throw new WhetstoneError('CHECKPOINT_INVALID', 'The data to replay has changed since the checkpoint.', {
        expected: `${saved.count} rows`,
        found: `${this.rows.length} rows`,
      });
    if (saved.weights !== null) this.sums = Float64Array.from(saved.weights);
  }
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
