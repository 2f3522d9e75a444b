import type { ConsumedBatches } from '@whetstone/core/contract';
import type { EpochPlan } from './order.js';

/** The sizes that decide how the rows of an epoch are cut into batches. */
type BatchSizes = Omit<ConsumedBatches, 'ranges'>;

/** The batches of an epoch that are left. They keep the last positions of the epoch. */
interface RemainingBatches {
  /** The rows of each batch. */
  readonly batches: readonly Int32Array[];
  /** The position of the first one in the epoch. */
  readonly first: number;
}

/**
 * Returns the batches of an epoch without the rows that were consumed in batches of other sizes. Every other row occurs
 * exactly once, in the order of the present plan.
 *
 * @param planOf plans the epoch with given sizes; null for the present ones
 */
export function remainingBatches(
  planOf: (sizes: BatchSizes | null) => EpochPlan,
  consumed: readonly ConsumedBatches[],
): RemainingBatches {
  const done = new Set<number>();
  const left = (sizes: BatchSizes | null): RemainingBatches => {
    const { rows, starts } = planOf(sizes);
    const planned = starts.length - 1;
    const batches = Array.from({ length: planned }, (_, batch) =>
      rows.slice(starts[batch], starts[batch + 1]).filter((row) => !done.has(row)),
    ).filter((batch) => batch.length > 0);
    return { batches, first: planned - batches.length };
  };
  for (const { ranges, ...sizes } of consumed) {
    const { batches, first } = left(sizes);
    for (const [index, batch] of batches.entries()) {
      const position = first + index;
      if (ranges.some(({ begin, end }) => begin <= position && position < end)) for (const row of batch) done.add(row);
    }
  }
  return left(null);
}
