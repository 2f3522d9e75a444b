import { IGNORED_LABEL } from '@whetstone/core/contract';
import type { Batch } from '@whetstone/core/contract';
import type { RowTable } from './rows.js';
import { shareRows } from '../packing/share-rows.js';
import { idOf, isTarget, type TokenStore } from './token-store.js';
import { fillWeights } from './token-weights.js';

export interface CollateOptions {
  /** The id of padding, which is neither attended to nor a target. */
  readonly padTokenId: number;
  readonly padToMultipleOf: number | null;
  /** Combines rows into fewer, fuller ones if that makes the batch cheaper. */
  readonly paddingFree?: boolean;
}

/**
 * Collates rows to a batch `[rows, length]`, padded on the right to the longest row (rounded up to `padToMultipleOf`).
 * Segment ids count from 1 in each row, position ids from 0 in each segment; padding has segment id 0. `weights` is
 * absent if all weights are 1. The first token of a segment is never a target.
 */
export function collate(
  rows: ArrayLike<number>,
  table: RowTable,
  store: TokenStore,
  { padTokenId, padToMultipleOf, paddingFree = false }: CollateOptions,
): Batch {
  const laidOut = layOut(Array.from(rows), table, paddingFree);
  const sizes = laidOut.map((segments) => segments.reduce((sum, segment) => sum + (table.length[segment] ?? 0), 0));
  const longest = Math.max(1, ...sizes);
  const length = padToMultipleOf === null ? longest : Math.ceil(longest / padToMultipleOf) * padToMultipleOf;
  const total = laidOut.length * length;
  const ids = new Int32Array(total).fill(padTokenId);
  const labels = new Int32Array(total).fill(IGNORED_LABEL);
  const segmentIds = new Int32Array(total);
  const positionIds = new Int32Array(total);
  let weights: Float32Array | undefined;
  let samples = 0;
  let supervisedTokens = 0;
  laidOut.forEach((segments, row) => {
    let position = row * length;
    segments.forEach((segment, number) => {
      const offset = table.offset[segment] ?? 0;
      if (offset === 0) samples++;
      const sample = table.sample[segment] ?? 0;
      const tokens = store.read(sample, offset, offset + (table.length[segment] ?? 0));
      const runs = store.weightsOf(sample);
      if (runs !== null)
        fillWeights((weights ??= new Float32Array(total).fill(1)), position, runs, offset, offset + tokens.length);
      for (let index = 0; index < tokens.length; index++, position++) {
        const packed = tokens[index] ?? 0;
        const id = idOf(packed);
        ids[position] = id;
        segmentIds[position] = number + 1;
        positionIds[position] = index;
        if (index > 0 && isTarget(packed)) {
          labels[position] = id;
          supervisedTokens++;
        }
      }
    });
  });
  const tokens = sizes.reduce((sum, size) => sum + size, 0);
  return {
    rows: laidOut.length,
    length,
    ids,
    labels,
    segmentIds,
    positionIds,
    ...(weights === undefined ? {} : { weights }),
    samples,
    tokens,
    supervisedTokens,
  };
}

/** Returns the segments of each row of the batch, as in the table or with combined rows. */
function layOut(rows: readonly number[], table: RowTable, paddingFree: boolean): readonly (readonly number[])[] {
  const segmentsOf = rows.map((row) => {
    const from = table.starts[row] ?? 0;
    return Array.from({ length: (table.starts[row + 1] ?? from) - from }, (_, index) => from + index);
  });
  if (!paddingFree) return segmentsOf;
  const lengths = segmentsOf.map((segments) =>
    segments.reduce((sum, segment) => sum + (table.length[segment] ?? 0), 0),
  );
  return shareRows(lengths).map((members) => members.flatMap((member) => segmentsOf[member] ?? []));
}
