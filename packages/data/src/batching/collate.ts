import { IGNORED_LABEL } from '@whetstone/core/contract';
import type { Batch } from '@whetstone/core/contract';
import type { RowTable } from './rows.js';
import { idOf, isLearned, type TokenStore } from './token-store.js';

export interface CollateOptions {
  /** The id that fills rows up; nothing ever attends to it or learns it. */
  readonly padTokenId: number;
  readonly padToMultipleOf: number | null;
}

/**
 * Puts rows together into one batch, padded on the right to the longest (rounded up to `padToMultipleOf`). Segments count from 1 in each row, positions
 * from 0 in each segment; padding has segment 0. The first label of a segment is never a target, as nothing before it may predict it.
 */
export function collate(rows: ArrayLike<number>, table: RowTable, store: TokenStore, { padTokenId, padToMultipleOf }: CollateOptions): Batch {
  const pieces = Array.from(rows, (row) => ({ from: table.starts[row] ?? 0, to: table.starts[row + 1] ?? 0 }));
  const sizes = pieces.map(({ from, to }) => table.length.subarray(from, to).reduce((sum, size) => sum + size, 0));
  const longest = Math.max(1, ...sizes);
  const length = padToMultipleOf === null ? longest : Math.ceil(longest / padToMultipleOf) * padToMultipleOf;
  const total = pieces.length * length;
  const ids = new Int32Array(total).fill(padTokenId);
  const labels = new Int32Array(total).fill(IGNORED_LABEL);
  const segmentIds = new Int32Array(total);
  const positionIds = new Int32Array(total);
  let samples = 0;
  let supervisedTokens = 0;
  pieces.forEach(({ from, to }, row) => {
    let position = row * length;
    for (let piece = from; piece < to; piece++) {
      const offset = table.offset[piece] ?? 0;
      if (offset === 0) samples++;
      const tokens = store.read(table.sample[piece] ?? 0, offset, offset + (table.length[piece] ?? 0));
      for (let index = 0; index < tokens.length; index++, position++) {
        const packed = tokens[index] ?? 0;
        const id = idOf(packed);
        ids[position] = id;
        segmentIds[position] = piece - from + 1;
        positionIds[position] = index;
        if (index > 0 && isLearned(packed)) {
          labels[position] = id;
          supervisedTokens++;
        }
      }
    }
  });
  const tokens = sizes.reduce((sum, size) => sum + size, 0);
  return { rows: pieces.length, length, ids, labels, segmentIds, positionIds, samples, tokens, supervisedTokens };
}
