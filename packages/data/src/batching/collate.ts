import { IGNORED_LABEL } from '@whetstone/core/contract';
import type { Batch } from '@whetstone/core/contract';
import type { RowTable } from './rows.js';
import { shareRows } from '../packing/share-rows.js';
import { idOf, isTarget, type TokenStore } from './token-store.js';
import { fillWeights } from './token-weights.js';

export interface CollateOptions {
  /** The id that fills rows up; nothing ever attends to it or learns it. */
  readonly padTokenId: number;
  readonly padToMultipleOf: number | null;
  /** Puts the rows together into fewer, fuller ones, where that makes the batch cheaper. */
  readonly paddingFree?: boolean;
}

/**
 * Puts rows together into one batch, padded on the right to the longest (rounded up to `padToMultipleOf`). Segments
 * count from 1 in each row, positions from 0 in each segment; padding has segment 0. Weights are there where some turn
 * of the batch does not count 1. The first label of a segment is never a target, as nothing before it may predict it.
 */
export function collate(
  rows: ArrayLike<number>,
  table: RowTable,
  store: TokenStore,
  { padTokenId, padToMultipleOf, paddingFree = false }: CollateOptions,
): Batch {
  const laidOut = layOut(Array.from(rows), table, paddingFree);
  const sizes = laidOut.map((pieces) => pieces.reduce((sum, piece) => sum + (table.length[piece] ?? 0), 0));
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
  laidOut.forEach((pieces, row) => {
    let position = row * length;
    pieces.forEach((piece, segment) => {
      const offset = table.offset[piece] ?? 0;
      if (offset === 0) samples++;
      const sample = table.sample[piece] ?? 0;
      const tokens = store.read(sample, offset, offset + (table.length[piece] ?? 0));
      const runs = store.weightsOf(sample);
      if (runs !== null)
        fillWeights((weights ??= new Float32Array(total).fill(1)), position, runs, offset, offset + tokens.length);
      for (let index = 0; index < tokens.length; index++, position++) {
        const packed = tokens[index] ?? 0;
        const id = idOf(packed);
        ids[position] = id;
        segmentIds[position] = segment + 1;
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

/** The pieces of each row of the batch, as the table has them or with rows put together. */
function layOut(rows: readonly number[], table: RowTable, paddingFree: boolean): readonly (readonly number[])[] {
  const piecesOf = rows.map((row) => {
    const from = table.starts[row] ?? 0;
    return Array.from({ length: (table.starts[row + 1] ?? from) - from }, (_, index) => from + index);
  });
  if (!paddingFree) return piecesOf;
  const lengths = piecesOf.map((pieces) => pieces.reduce((sum, piece) => sum + (table.length[piece] ?? 0), 0));
  return shareRows(lengths).map((members) => members.flatMap((member) => piecesOf[member] ?? []));
}
