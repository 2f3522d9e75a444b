import { IGNORED_LABEL, type Batch } from '@whetstone/core/contract';

/** One row of a batch without its padding. */
export interface ReplayRow {
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly segmentIds: Int32Array;
  readonly positionIds: Int32Array;
  /** As a batch's: absent where every label counts 1. */
  readonly weights?: Float32Array;
}

/** A row as JSON holds it. */
export type PlainRow = { readonly [K in Part]: readonly number[] } & { readonly weights?: readonly number[] };

type Part = Exclude<keyof ReplayRow, 'weights'>;

export const plainRow = ({ ids, labels, segmentIds, positionIds, weights }: ReplayRow): PlainRow => ({
  ids: [...ids], labels: [...labels], segmentIds: [...segmentIds], positionIds: [...positionIds], ...(weights === undefined ? {} : { weights: [...weights] }),
});

export const fromPlainRow = ({ ids, labels, segmentIds, positionIds, weights }: PlainRow): ReplayRow => ({
  ids: Int32Array.from(ids), labels: Int32Array.from(labels), segmentIds: Int32Array.from(segmentIds), positionIds: Int32Array.from(positionIds),
  ...(weights === undefined ? {} : { weights: Float32Array.from(weights) }),
});

/** The rows of a batch that hold a token, padding cut off. */
export function rowsOf({ rows, length, ids, labels, segmentIds, positionIds, weights }: Batch): ReplayRow[] {
  return Array.from({ length: rows }, (_, row) => {
    const start = row * length;
    let end = start + length;
    while (end > start && segmentIds[end - 1] === 0) end -= 1;
    const part = { ids: ids.slice(start, end), labels: labels.slice(start, end), segmentIds: segmentIds.slice(start, end), positionIds: positionIds.slice(start, end) };
    return weights === undefined ? part : { ...part, weights: weights.slice(start, end) };
  }).filter((row) => row.ids.length > 0);
}

/** Targets of a row: labels that count after the shift by one within their segment. */
export function targetsIn({ labels, segmentIds }: ReplayRow): number {
  let count = 0;
  for (let index = 1; index < labels.length; index += 1) {
    if (labels[index] !== IGNORED_LABEL && segmentIds[index] !== 0 && segmentIds[index] === segmentIds[index - 1]) count += 1;
  }
  return count;
}

function fillWeights(batch: Batch, added: readonly ReplayRow[], rows: number, length: number): Float32Array {
  const values = new Float32Array(rows * length).fill(1);
  for (let row = 0; row < batch.rows; row += 1) {
    if (batch.weights !== undefined) values.set(batch.weights.subarray(row * batch.length, (row + 1) * batch.length), row * length);
  }
  for (const [index, { weights }] of added.entries()) if (weights !== undefined) values.set(weights, (batch.rows + index) * length);
  return values;
}

/** The batch with further rows below its own, padded to the longest. Its `origins` stay those of its own rows. */
export function withRows(batch: Batch, added: readonly ReplayRow[]): Batch {
  if (added.length === 0) return batch;
  const rows = batch.rows + added.length;
  const length = Math.max(batch.length, ...added.map(({ ids }) => ids.length));
  const fill = (own: Int32Array, part: Part, padding: number): Int32Array => {
    const values = new Int32Array(rows * length).fill(padding);
    for (let row = 0; row < batch.rows; row += 1) values.set(own.subarray(row * batch.length, (row + 1) * batch.length), row * length);
    for (const [index, each] of added.entries()) values.set(each[part], (batch.rows + index) * length);
    return values;
  };
  const isWeighted = batch.weights !== undefined || added.some(({ weights }) => weights !== undefined);
  return {
    ...batch,
    ...(isWeighted ? { weights: fillWeights(batch, added, rows, length) } : {}),
    rows,
    length,
    ids: fill(batch.ids, 'ids', batch.ids.at(-1) ?? 0),
    labels: fill(batch.labels, 'labels', IGNORED_LABEL),
    segmentIds: fill(batch.segmentIds, 'segmentIds', 0),
    positionIds: fill(batch.positionIds, 'positionIds', 0),
    samples: batch.samples + added.length,
    tokens: batch.tokens + added.reduce((sum, { ids }) => sum + ids.length, 0),
    supervisedTokens: batch.supervisedTokens + added.reduce((sum, row) => sum + targetsIn(row), 0),
  };
}
