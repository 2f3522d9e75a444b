import type { ForwardInput } from '@whetstone/core/contract';

/** The tokens of a pass that must be computed, each once, and their cells in the grid [rows × length]. */
export interface DistinctTokens {
  /** One cell of each token, row · length + column: [tokens]. */
  readonly cellOf: Int32Array;
  /** The token in each cell, [rows × length]; 0 in cells that no output depends on. */
  readonly tokenOf: Int32Array;
}

/**
 * Minimum share of the cells that must be saved: gathering tokens into cells and back costs a few percent of a pass.
 */
const MIN_SAVED = 1 / 32;
/** An upper bound of token ids. */
const MAX_IDS = 2 ** 24;

/**
 * Finds the tokens that the hidden states at `outputPositions` (cells) depend on. Under the causal mask, no output
 * depends on padding or on tokens after the last output position of their segment. Tokens with equal predecessors have
 * equal hidden states in every layer. A beginning that segments share, such as a system message, is computed once.
 *
 * @returns null if that would save less than 1/32 of the cells.
 */
export function distinctTokens(
  { rows, length, ids, segmentIds, positionIds }: ForwardInput,
  outputPositions: Int32Array,
): DistinctTokens | null {
  const isOutput = new Uint8Array(rows * length);
  for (const cell of outputPositions) isOutput[cell] = 1;
  const cellOf: number[] = [];
  const tokenOf = new Int32Array(rows * length);
  /** Tokens by their predecessor and id. */
  const known = new Map<number, number>();
  for (let row = 0; row < rows; row++) {
    const rowEnd = (row + 1) * length;
    for (let start = row * length, end = start; start < rowEnd; start = end) {
      let last = -1;
      for (; end < rowEnd && segmentIds[end] === segmentIds[start]; end++) if (isOutput[end] === 1) last = end;
      /** 0 at the start of a segment, then 1 + the previous token; −1 if the predecessors are unknown. */
      let before = 0;
      for (let cell = start; cell <= last; cell++) {
        // If the positions do not start at 0, the beginning of the text is elsewhere and cannot be compared.
        const key = positionIds[cell] === cell - start && before >= 0 ? before * MAX_IDS + (ids[cell] ?? 0) : -1;
        let token = key < 0 ? undefined : known.get(key);
        if (token === undefined) {
          token = cellOf.length;
          cellOf.push(cell);
          if (key >= 0) known.set(key, token);
        }
        tokenOf[cell] = token;
        before = key < 0 ? -1 : token + 1;
      }
    }
  }
  return cellOf.length <= (1 - MIN_SAVED) * rows * length ? { cellOf: Int32Array.from(cellOf), tokenOf } : null;
}
