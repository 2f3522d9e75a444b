import type { Batch } from '../contract/data.js';
import { supervisedPositions } from './supervised-positions.js';

/**
 * Minimum number of tokens of a half. With fewer, computing two halves in parallel does not pay for compiling a graph
 * of twice as many operations.
 */
const MIN_TOKENS = 512;

/**
 * Splits the rows of a batch into two halves with about the same number of tokens. Returns only the batch itself if a
 * half would have too few tokens or no target. Both halves keep the length of the batch, so that batches of other
 * lengths record the same graph.
 */
export function splitBatch(batch: Batch): readonly Batch[] {
  const { rows, tokens: batchTokens } = batch;
  if (rows < 2 || batchTokens < 2 * MIN_TOKENS) return [batch];
  const tokens = Array.from({ length: rows }, (_, row) => tokensOfRow(batch, row));
  const longestFirst = tokens.map((_, row) => row).toSorted((a, b) => (tokens[b] ?? 0) - (tokens[a] ?? 0));
  // 0, 3, 4, 7, … and 1, 2, 5, 6, …: the same number of rows, and nearly the same number of tokens.
  const rowsOfHalves = [0, 1].map((half) =>
    longestFirst.filter((_, order) => ((order + 1) >> 1) % 2 === half).toSorted((a, b) => a - b),
  );
  const halves = rowsOfHalves.map((chosen) => selectRows(batch, chosen));
  return halves.every(({ supervisedTokens, tokens: own }) => supervisedTokens > 0 && own >= MIN_TOKENS)
    ? halves
    : [batch];
}

/** Counts the tokens of a row that are not padding. */
function tokensOfRow({ length, segmentIds }: Batch, row: number): number {
  return segmentIds
    .subarray(row * length, (row + 1) * length)
    .reduce((count, segment) => count + (segment === 0 ? 0 : 1), 0);
}

/** Counts the conversations of a row: its segments that are not padding. */
function samplesOfRow({ length, segmentIds }: Batch, row: number): number {
  return new Set(segmentIds.subarray(row * length, (row + 1) * length).filter((segment) => segment !== 0)).size;
}

function selectRows(batch: Batch, chosen: readonly number[]): Batch {
  const { length } = batch;
  const pick = <T extends Int32Array | Float32Array>(from: T, to: T): T => {
    chosen.forEach((row, index) => to.set(from.subarray(row * length, (row + 1) * length), index * length));
    return to;
  };
  const ints = (from: Int32Array): Int32Array => pick(from, new Int32Array(chosen.length * length));
  const picked = {
    ...batch,
    rows: chosen.length,
    ids: ints(batch.ids),
    labels: ints(batch.labels),
    segmentIds: ints(batch.segmentIds),
    positionIds: ints(batch.positionIds),
    ...(batch.weights === undefined ? {} : { weights: pick(batch.weights, new Float32Array(chosen.length * length)) }),
    samples: chosen.reduce((sum, row) => sum + samplesOfRow(batch, row), 0),
    tokens: chosen.reduce((sum, row) => sum + tokensOfRow(batch, row), 0),
  };
  return { ...picked, supervisedTokens: supervisedPositions(picked).targets.length };
}
