import type { Batch } from '../contract/data.js';
import { supervisedPositions } from './supervised-positions.js';

/**
 * Tokens of a half from which on two beside each other pay soon for the function of twice as many operations that has
 * to be compiled for them.
 */
const MIN_TOKENS = 512;

/**
 * The rows of a batch dealt into two halves, so that both have about as many tokens; the batch itself where it has few
 * tokens, or one half would have few or no target. Both halves have the batch's length: what is recorded of them is the
 * same for batches of other lengths.
 */
export function splitBatch(batch: Batch): readonly Batch[] {
  const { rows, tokens: all } = batch;
  if (rows < 2 || all < 2 * MIN_TOKENS) return [batch];
  const tokens = Array.from({ length: rows }, (_, row) => tokensOfRow(batch, row));
  const longestFirst = tokens.map((_, row) => row).toSorted((a, b) => (tokens[b] ?? 0) - (tokens[a] ?? 0));
  // 0, 3, 4, 7, … and 1, 2, 5, 6, …: as many rows in each, and nearly as many tokens.
  const dealt = [0, 1].map((half) =>
    longestFirst.filter((_, place) => ((place + 1) >> 1) % 2 === half).toSorted((a, b) => a - b),
  );
  const halves = dealt.map((chosen) => selectRows(batch, chosen));
  return halves.every(({ supervisedTokens, tokens: own }) => supervisedTokens > 0 && own >= MIN_TOKENS)
    ? halves
    : [batch];
}

/** Tokens of a row that are not padding. */
function tokensOfRow({ length, segmentIds }: Batch, row: number): number {
  return segmentIds
    .subarray(row * length, (row + 1) * length)
    .reduce((count, segment) => count + (segment === 0 ? 0 : 1), 0);
}

/** Conversations of a row: its segments that are not padding. */
function samplesOfRows({ length, segmentIds }: Batch, row: number): number {
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
    samples: chosen.reduce((sum, row) => sum + samplesOfRows(batch, row), 0),
    tokens: chosen.reduce((sum, row) => sum + tokensOfRow(batch, row), 0),
  };
  return { ...picked, supervisedTokens: supervisedPositions(picked).targets.length };
}
